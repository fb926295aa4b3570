//! Decodes large JPEGs at a reduced size.
//!
//! A camera's photo is a dozen times as wide as the model's input. A JPEG stores each 8×8 block as DCT
//! coefficients, and the resize discards the high frequencies. So only the lowest N×M coefficients of a
//! block become N×M pixels. Most of the remaining time goes to Huffman decoding, and most codes belong
//! to coefficients that are not needed: the decoder skips several of these at a time.
//!
//! This covers what cameras write: baseline, one scan, gray or `YCbCr`, undamaged. For every other file
//! [`decode_reduced`] returns `None`, and the `image` crate decodes it or reports the damage.
//!
//! Section numbers refer to ITU-T T.81, <https://www.w3.org/Graphics/JPEG/itu-t81.pdf>.

mod coefficients;
mod header;
mod huffman;
mod idct;

use image::RgbImage;

use self::{
    header::{Component, EOI, Header},
    huffman::{Bits, interval},
    idct::Idct,
};

/// Minimum ratio of the reduced size to the target size, in each direction. At 3, Pillow's documentation
/// calls the difference indistinguishable. At 4, photos stay within 2 levels of 256, which the golden
/// tests hold.
const MARGIN: usize = 4;

/// Decodes a JPEG at 1/2, 1/4 or 1/8 of its width and height: the smallest size that is at least
/// `MARGIN` times `target` (width, height).
///
/// `None` if no such size exists, if the file is not of the kind above, or if the size in its frame
/// header differs from `size`, which the caller has checked against the limits.
pub(super) fn decode_reduced(
    bytes: &[u8],
    size: (u32, u32),
    target: (u32, u32),
) -> Option<RgbImage> {
    let header = Header::read(bytes)?;
    if size != (header.width as u32, header.height as u32) {
        return None;
    }
    let fits = |pixels: usize, target: u32, shrink: usize| {
        pixels.is_multiple_of(shrink) && pixels / shrink >= MARGIN * target as usize
    };
    let shrink = [8, 4, 2].into_iter().find(|&shrink| {
        fits(header.width, target.0, shrink) && fits(header.height, target.1, shrink)
    })?;
    let decoders = header
        .components
        .iter()
        .map(|component| Decoder::new(&header, component, shrink))
        .collect::<Option<Vec<_>>>()?;
    let (width, height) = (header.width / shrink, header.height / shrink);
    let pixels = scan(&header, decoders, width, height)?;
    RgbImage::from_raw(width as u32, height as u32, pixels)
}

/// Decodes all MCUs into `width` × `height` RGB pixels.
fn scan(
    header: &Header,
    mut decoders: Vec<Decoder>,
    width: usize,
    height: usize,
) -> Option<Vec<u8>> {
    let mut rgb = vec![0; 3 * width * height];
    let mut lines = rgb.chunks_exact_mut(3 * width);
    let mut rest = header.scan;
    let mut buffer = Vec::new();
    let mut marker = interval(&mut rest, &mut buffer)?;
    let mut bits = Bits::new(&buffer);
    let mut until_restart = header.restart;
    let mut restarts = 0;
    for _ in 0..header.mcus.1 {
        for mcu in 0..header.mcus.0 {
            if header.restart > 0 && until_restart == 0 {
                bits.end()?;
                // RST0 to RST7 follow each other cyclically: B.2.1.
                if marker != 0xd0 + restarts % 8 {
                    return None;
                }
                restarts = (restarts + 1) % 8;
                until_restart = header.restart;
                marker = interval(&mut rest, &mut buffer)?;
                bits = Bits::new(&buffer);
                decoders.iter_mut().for_each(|decoder| decoder.dc = 0);
            }
            until_restart = until_restart.saturating_sub(1);
            for decoder in &mut decoders {
                decoder.read(&mut bits, mcu)?;
            }
        }
        // A file with fewer codes than it declares is given up here, after at most one row of MCUs.
        bits.within()?;
        let rows = decoders.first()?.rows();
        for (y, line) in lines.by_ref().take(rows).enumerate() {
            color(&decoders, y, line);
        }
    }
    bits.end()?;
    // Another scan or a DNL segment (a height after the scan) is not supported here.
    (marker == EOI).then_some(rgb)
}

/// Decoder of one component, for one row of MCUs at a time.
struct Decoder<'a> {
    component: &'a Component,
    idct: Idct,
    /// DC coefficient of the previous block: F.1.1.5.1.
    dc: i16,
    /// Levels of a row of MCUs; each line has `stride` levels.
    levels: Vec<u8>,
    stride: usize,
}

impl<'a> Decoder<'a> {
    fn new(header: &Header, component: &'a Component, shrink: usize) -> Option<Self> {
        // All components get the same size: a subsampled component is reduced by half as much.
        let side = |largest: usize, own: usize| 8 * largest / own / shrink;
        let idct = Idct::new(
            side(header.largest.0, component.sampling.0),
            side(header.largest.1, component.sampling.1),
            &component.quantization,
        )?;
        let stride = (header.mcus.0 * component.sampling.0 * idct.width).next_multiple_of(LANES);
        Some(Self {
            dc: 0,
            levels: vec![0; stride * component.sampling.1 * idct.height],
            stride,
            component,
            idct,
        })
    }

    /// Decodes the component's blocks of MCU number `mcu` in the row.
    fn read(&mut self, bits: &mut Bits, mcu: usize) -> Option<()> {
        let (across, down) = self.component.sampling;
        for y in 0..down {
            for x in 0..across {
                let difference = self.component.dc.difference(bits)?;
                self.dc = self.dc.wrapping_add(difference);
                let first =
                    y * self.idct.height * self.stride + (mcu * across + x) * self.idct.width;
                let out = self.levels.get_mut(first..)?;
                self.idct
                    .block(self.dc, &self.component.ac, bits, out, self.stride)?;
            }
        }
        Some(())
    }

    /// Lines of levels in a row of MCUs.
    fn rows(&self) -> usize {
        self.levels.len() / self.stride
    }

    fn line(&self, y: usize) -> &[u8] {
        &self.levels[y * self.stride..][..self.stride]
    }
}

/// Converts line `y` to RGB; gray is repeated.
fn color(decoders: &[Decoder], y: usize, line: &mut [u8]) {
    let (pixels, _) = line.as_chunks_mut::<3>();
    match decoders {
        [luma, blue, red] => {
            let [luma, blue, red] =
                [luma, blue, red].map(|plane| plane.line(y).as_chunks::<LANES>().0);
            let levels = luma.iter().zip(blue).zip(red);
            for (pixels, ((luma, blue), red)) in pixels.chunks_mut(LANES).zip(levels) {
                let [r, g, b] = rgb(luma, blue, red);
                for (x, pixel) in pixels.iter_mut().enumerate() {
                    *pixel = [r[x], g[x], b[x]];
                }
            }
        }
        planes => {
            let gray = planes.iter().flat_map(|gray| gray.line(y));
            for (pixel, &level) in pixels.iter_mut().zip(gray) {
                *pixel = [level; 3];
            }
        }
    }
}

/// Levels that are converted to RGB together, so that the compiler vectorises the loop.
const LANES: usize = 32;

/// `YCbCr` to RGB, with 14 bits of fraction: <https://www.w3.org/Graphics/JPEG/jfif3.pdf>.
fn rgb(luma: &[u8; LANES], blue: &[u8; LANES], red: &[u8; LANES]) -> [[u8; LANES]; 3] {
    let mut rgb = [[0; LANES]; 3];
    for x in 0..LANES {
        let luma = (i32::from(luma[x]) << 14) + (1 << 13);
        let [blue, red] = [blue[x], red[x]].map(|level| i32::from(i16::from(level) - 128));
        let level = |level: i32| (level >> 14).clamp(0, 255) as u8;
        rgb[0][x] = level(luma + 22_970 * red);
        rgb[1][x] = level(luma - 5_638 * blue - 11_700 * red);
        rgb[2][x] = level(luma + 29_032 * blue);
    }
    rgb
}
