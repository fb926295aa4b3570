//! The embedded services with the real binary as the function, and the calls that tests make.

pub(crate) mod api;
pub(crate) mod command;
pub(crate) mod event;
pub(crate) mod exclusive;
pub(crate) mod exif;
pub(crate) mod item;
pub(crate) mod model;
pub(crate) mod photo;
pub(crate) mod promise;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod reviews;
pub(crate) mod s3;
pub(crate) mod served;
pub(crate) mod stack;
pub(crate) mod xmp;
