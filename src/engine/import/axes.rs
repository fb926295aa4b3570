//! Which axes a tensor has in tract's graph.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::AxisOp;

use crate::graph::Shape;

/// An axis of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Axis {
    Batch,
    Channel,
    Row,
    Column,
}

/// The axes of a tensor in tract's order. The batch and the channels are always there; rows and columns may be missing
/// if they have size 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Axes(Vec<Axis>);

impl Axes {
    /// Batch, channels, rows, columns.
    pub(super) fn nchw() -> Self {
        Self(vec![Axis::Batch, Axis::Channel, Axis::Row, Axis::Column])
    }

    /// Batch, rows, columns, channels.
    pub(super) fn nhwc() -> Self {
        Self(vec![Axis::Batch, Axis::Row, Axis::Column, Axis::Channel])
    }

    /// Batch and channels.
    pub(super) fn nc() -> Self {
        Self(vec![Axis::Batch, Axis::Channel])
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the order is that of NCHW, perhaps without rows and columns.
    pub(super) fn is_channels_first(&self) -> bool {
        let nchw = Self::nchw();
        let expected = nchw.0.into_iter().filter(|axis| self.0.contains(axis));
        expected.eq(self.0.iter().copied())
    }

    /// Position of an axis.
    pub(super) fn position(&self, axis: Axis) -> Option<usize> {
        self.0.iter().position(|&own| own == axis)
    }

    /// Sizes of the axis in the order of [`Shape`], from sizes in tract's order. `None` if the batch is larger than 1
    /// or the number of axes does not match.
    pub(super) fn shape(&self, sizes: &[usize]) -> Option<Shape> {
        if sizes.len() != self.len() {
            return None;
        }
        let size = |axis| self.position(axis).map_or(1, |position| sizes[position]);
        (size(Axis::Batch) == 1).then_some(Shape {
            channels: size(Axis::Channel),
            height: size(Axis::Row),
            width: size(Axis::Column),
        })
    }

    /// The axes after an operator that moves, adds or removes axes of a tensor of this shape. `None` if the result has no
    /// batch or no channels, or axes are merged or split that have more than one pixel.
    pub(super) fn after(&self, op: &AxisOp, shape: Shape, output: &[usize]) -> Option<Self> {
        let mut axes = self.0.clone();
        match op {
            AxisOp::Move(from, to) => {
                let axis = axes.remove(*from);
                axes.insert(*to, axis);
            }
            // tract removes only axes of size 1.
            AxisOp::Rm(position) => {
                axes.remove(*position);
            }
            AxisOp::Add(position) => {
                let missing = [Axis::Row, Axis::Column]
                    .into_iter()
                    .find(|axis| !axes.contains(axis));
                axes.insert(*position, missing?);
            }
            AxisOp::Reshape(..) => {
                // A tensor of one pixel: its channels are one of the axes, after the batch.
                if shape.pixels() != 1 || shape.channels == 1 || output.first() != Some(&1) {
                    return None;
                }
                let channel = output.iter().position(|&size| size == shape.channels)?;
                let mut rest = [Axis::Row, Axis::Column].into_iter();
                axes = vec![Axis::Batch];
                for position in 1..output.len() {
                    let axis = if position == channel {
                        Axis::Channel
                    } else {
                        rest.next()?
                    };
                    axes.push(axis);
                }
            }
        }
        let has = |axis| axes.contains(&axis);
        (has(Axis::Batch) && has(Axis::Channel)).then_some(Self(axes))
    }

    /// The value for each channel of a constant that is broadcast to a tensor of this shape. `None` if the constant
    /// depends on rows or columns.
    pub(super) fn per_channel(&self, constant: &Tensor, shape: Shape) -> Option<Vec<f32>> {
        let values = super::floats(constant)?;
        if let [value] = values {
            return Some(vec![*value; shape.channels]);
        }
        let channel = self.position(Axis::Channel)?;
        let is_per_channel = constant.rank() == self.len()
            && constant.shape()[channel] == shape.channels
            && values.len() == shape.channels;
        is_per_channel.then(|| values.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape {
        channels: 8,
        height: 1,
        width: 1,
    };

    #[test]
    fn axes_follow_moves_and_removals() {
        let moved = Axes::nhwc().after(&AxisOp::Move(3, 1), SHAPE, &[]).unwrap();
        assert_eq!(moved, Axes::nchw());
        let removed = moved.after(&AxisOp::Rm(3), SHAPE, &[]).unwrap();
        let removed = removed.after(&AxisOp::Rm(2), SHAPE, &[]).unwrap();
        assert_eq!(removed, Axes::nc());
        let added = removed.after(&AxisOp::Add(2), SHAPE, &[]).unwrap();
        assert_eq!(
            added.after(&AxisOp::Add(3), SHAPE, &[]).unwrap(),
            Axes::nchw()
        );
        // Without a batch or channels it is no tensor of the network.
        assert_eq!(Axes::nchw().after(&AxisOp::Rm(0), SHAPE, &[]), None);
        assert_eq!(Axes::nchw().after(&AxisOp::Add(0), SHAPE, &[]), None);
    }

    #[test]
    fn a_tensor_of_one_pixel_may_be_reshaped() {
        let reshape = AxisOp::Reshape(1, Default::default(), Default::default());
        let flat = Axes::nhwc().after(&reshape, SHAPE, &[1, 8]);
        assert_eq!(flat, Some(Axes::nc()));
        let rows = Shape { height: 2, ..SHAPE };
        assert_eq!(Axes::nhwc().after(&reshape, rows, &[1, 16]), None);
    }

    #[test]
    fn a_constant_has_one_value_or_one_for_each_channel() {
        let constant = |shape: &[usize]| {
            let values = vec![2.0f32; shape.iter().product()];
            Tensor::from_shape(shape, &values).unwrap()
        };
        let shape = Shape {
            channels: 3,
            height: 3,
            width: 2,
        };
        let per_channel = |of: &[usize]| Axes::nchw().per_channel(&constant(of), shape);
        assert_eq!(per_channel(&[1, 3, 1, 1]), Some(vec![2.0; 3]));
        assert_eq!(per_channel(&[1, 1, 1, 1]), Some(vec![2.0; 3]));
        assert_eq!(per_channel(&[1, 1, 3, 1]), None);
        assert_eq!(per_channel(&[3]), None);
        assert_eq!(per_channel(&[1, 3, 3, 2]), None);
    }
}
