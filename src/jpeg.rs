//! Large photos, decoded no larger than the model needs them.
//!
//! A camera's photo is a dozen times as wide as what the model is shown. A JPEG holds each 8×8 block as
//! frequencies, and those that the resize would throw away need not be turned into pixels: of a block
//! the lowest 4×4 become 4×4 pixels. Most of the time then goes to Huffman codes, and most of those are
//! of frequencies that are not needed: they are skipped several at a time.
//!
//! Only what cameras write comes this way: baseline, one scan, gray or `YCbCr`, nothing damaged. Of all
//! else [`reduced`] says nothing, and the `image` crate decodes it or tells why not.
//!
//! Sections are those of ITU-T T.81, <https://www.w3.org/Graphics/JPEG/itu-t81.pdf>.

mod header;
mod huffman;
mod idct;

use image::RgbImage;

use self::{
    header::{Component, EOI, Header},
    huffman::{Bits, interval},
    idct::Idct,
};

/// How many pixels stay at least for each that is asked for, in each direction. At 3, Pillow calls the
/// difference indistinguishable; at 4, photos stay within two levels of 256: tests/golden.rs.
const MARGIN: usize = 4;

/// Decodes a photo to a half, a quarter or an eighth of its width and height, if that is `MARGIN` times
/// `target` (width, height) at least. `None` if it is not, if the file is not of the usual kind, or if its own width
/// and height are not `size`, which was held against the limits.
pub fn reduced(bytes: &[u8], size: (u32, u32), target: (u32, u32)) -> Option<RgbImage> {
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

/// Reads all MCUs into `width` × `height` pixels.
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
                // RST0 to RST7, in turn: B.2.1.
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
        // What declares more than it holds is given up early.
        bits.within()?;
        let rows = decoders.first()?.rows();
        for (y, line) in lines.by_ref().take(rows).enumerate() {
            color(&decoders, y, line);
        }
    }
    bits.end()?;
    // Another scan, or a height that comes afterwards, is not for this.
    (marker == EOI).then_some(rgb)
}

/// One component, while a row of MCUs is read.
struct Decoder<'a> {
    component: &'a Component,
    idct: Idct,
    /// The last block's DC coefficient: F.1.1.5.1.
    dc: i16,
    /// A row of MCUs, `stride` levels wide.
    levels: Vec<u8>,
    stride: usize,
}

impl<'a> Decoder<'a> {
    fn new(header: &Header, component: &'a Component, shrink: usize) -> Option<Self> {
        // All components are brought to one size: what has half the samples is shrunk half as much.
        let side = |largest: usize, own: usize| 8 * largest / own / shrink;
        let idct = Idct::new(
            side(header.largest.0, component.sampling.0),
            side(header.largest.1, component.sampling.1),
            &component.quantization,
        )?;
        let stride = (header.mcus.0 * component.sampling.0 * idct.width).next_multiple_of(PART);
        Some(Self {
            dc: 0,
            levels: vec![0; stride * component.sampling.1 * idct.height],
            stride,
            component,
            idct,
        })
    }

    /// Reads the component's blocks of one MCU.
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

    /// Rows of levels in a row of MCUs.
    fn rows(&self) -> usize {
        self.levels.len() / self.stride
    }

    fn line(&self, y: usize) -> &[u8] {
        &self.levels[y * self.stride..][..self.stride]
    }
}

/// Makes RGB of line `y`; gray is repeated.
fn color(decoders: &[Decoder], y: usize, line: &mut [u8]) {
    let (pixels, _) = line.as_chunks_mut::<3>();
    match decoders {
        [luma, blue, red] => {
            let [luma, blue, red] =
                [luma, blue, red].map(|plane| plane.line(y).as_chunks::<PART>().0);
            let levels = luma.iter().zip(blue).zip(red);
            for (pixels, ((luma, blue), red)) in pixels.chunks_mut(PART).zip(levels) {
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

/// Levels that are made RGB together.
const PART: usize = 32;

/// `YCbCr` to RGB, with 14 bits of fraction: <https://www.w3.org/Graphics/JPEG/jfif3.pdf>.
fn rgb(luma: &[u8; PART], blue: &[u8; PART], red: &[u8; PART]) -> [[u8; PART]; 3] {
    let mut rgb = [[0; PART]; 3];
    for x in 0..PART {
        let luma = (i32::from(luma[x]) << 14) + (1 << 13);
        let [blue, red] = [blue[x], red[x]].map(|level| i32::from(i16::from(level) - 128));
        let level = |level: i32| (level >> 14).clamp(0, 255) as u8;
        rgb[0][x] = level(luma + 22_970 * red);
        rgb[1][x] = level(luma - 5_638 * blue - 11_700 * red);
        rgb[2][x] = level(luma + 29_032 * blue);
    }
    rgb
}
