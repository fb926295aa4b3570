//! The header of a JPEG: sizes, quantization tables and Huffman tables.

use std::rc::Rc;

use super::huffman::{Ac, Dc};

/// End-of-image marker: B.1.1.3, table B.1.
pub(super) const EOI: u8 = 0xd9;

/// Header of a baseline JPEG with one scan.
pub(super) struct Header<'a> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// One component (gray) or three (`YCbCr`).
    pub(super) components: Vec<Component>,
    /// Largest sampling factors, horizontal and vertical.
    pub(super) largest: (usize, usize),
    /// Number of minimum coded units (MCUs), horizontal and vertical: A.2.
    pub(super) mcus: (usize, usize),
    /// Restart interval in MCUs; 0 if the file has no restart markers.
    pub(super) restart: usize,
    /// The entropy-coded segment and everything after it.
    pub(super) scan: &'a [u8],
}

pub(super) struct Component {
    /// Sampling factors: blocks in an MCU, horizontal and vertical.
    pub(super) sampling: (usize, usize),
    /// Quantization table in zigzag order.
    pub(super) quantization: [u16; 64],
    pub(super) dc: Rc<Dc>,
    pub(super) ac: Rc<Ac>,
}

/// A component as the frame header declares it: B.2.2.
struct Declared {
    id: u8,
    sampling: (usize, usize),
    quantization: usize,
}

/// Tables by their number. Huffman tables stay in their encoded form until the scan header refers to them,
/// because a file may contain millions.
#[derive(Default)]
struct Tables<'a> {
    quantization: [Option<[u16; 64]>; 4],
    dc: [Option<Codes<'a>>; 4],
    ac: [Option<Codes<'a>>; 4],
}

/// Number of Huffman codes of each length, and the symbols in order of their codes.
type Codes<'a> = (&'a [u8; 16], &'a [u8]);

impl<'a> Header<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
        let mut tables = Tables::default();
        let mut frame = None;
        let mut restart = 0;
        loop {
            let (marker, content) = segment(&mut rest)?;
            match marker {
                // Baseline, and extended sequential with the same codes: B.2.2.
                0xc0 | 0xc1 if frame.is_none() => frame = Some(frame_header(content)?),
                0xc4 => tables.read_huffman(content)?,
                0xdb => tables.read_quantization(content)?,
                0xdd => restart = usize::from(u16::from_be_bytes(*content.first_chunk()?)),
                // APP14: <https://www.itu.int/rec/T-REC-T.872>, 6.5.3. Only YCbCr (transform 1) is supported here.
                0xee if content.starts_with(b"Adobe") && content.get(11) != Some(&1) => {
                    return None;
                }
                // APPn and comments.
                0xe0..=0xef | 0xfe => {}
                0xda => {
                    let (width, height, declared) = frame?;
                    let components = scan_header(content, &declared, &tables)?;
                    let largest = |of: fn(&Declared) -> usize| declared.iter().map(of).max();
                    let largest = (largest(|c| c.sampling.0)?, largest(|c| c.sampling.1)?);
                    return Some(Self {
                        mcus: (
                            width.div_ceil(8 * largest.0),
                            height.div_ceil(8 * largest.1),
                        ),
                        width,
                        height,
                        components,
                        largest,
                        restart,
                        scan: rest,
                    });
                }
                _ => return None,
            }
        }
    }
}

/// The next marker and its segment: B.1.1.4.
fn segment<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (_, after) = rest.split_first().filter(|(first, _)| **first == 0xff)?;
    let fill = after.iter().take_while(|byte| **byte == 0xff).count();
    let (marker, after) = after.get(fill..)?.split_first()?;
    let length = usize::from(u16::from_be_bytes(*after.first_chunk()?));
    let (segment, after) = after.split_at_checked(length)?;
    *rest = after;
    Some((*marker, segment.get(2..)?))
}

fn frame_header(content: &[u8]) -> Option<(usize, usize, Vec<Declared>)> {
    let &[8, h0, h1, w0, w1, count, ref components @ ..] = content else {
        return None;
    };
    let (width, height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
    let (components, []) = components.as_chunks::<3>() else {
        return None;
    };
    let mut declared: Vec<Declared> = components
        .iter()
        .map(|&[id, sampling, table]| Declared {
            id,
            sampling: (usize::from(sampling >> 4), usize::from(sampling & 15)),
            quantization: usize::from(table),
        })
        .collect();
    match declared.as_mut_slice() {
        // The blocks of a scan with one component are not interleaved, whatever its factors: A.2.2.
        [gray] => gray.sampling = (1, 1),
        // Without a JFIF or Adobe marker, other decoders take these three ids to mean RGB.
        [red, green, blue] if [red.id, green.id, blue.id] != *b"RGB" => {}
        _ => return None,
    }
    // Chroma subsampling by 1 or 2.
    let is_sound = |factor| matches!(factor, 1 | 2);
    let sound = declared.len() == usize::from(count)
        && width > 0
        && height > 0
        && declared
            .iter()
            .all(|c| is_sound(c.sampling.0) && is_sound(c.sampling.1));
    sound.then_some((width.into(), height.into(), declared))
}

/// The components of a scan that contains all of them: B.2.3.
fn scan_header(content: &[u8], declared: &[Declared], tables: &Tables) -> Option<Vec<Component>> {
    let (&count, rest) = content.split_first()?;
    // Spectral selection 0 to 63 without successive approximation.
    let components = rest.strip_suffix(&[0, 63, 0])?;
    let (components, []) = components.as_chunks::<2>() else {
        return None;
    };
    if components.len() != declared.len() || components.len() != usize::from(count) {
        return None;
    }
    // Both chroma components usually refer to the same tables.
    let (mut dc, mut ac) = (
        <[Option<Rc<Dc>>; 4]>::default(),
        <[Option<Rc<Ac>>; 4]>::default(),
    );
    let component = |(&[id, numbers], declared): (&[u8; 2], &Declared)| {
        (id == declared.id).then_some(())?;
        let (for_dc, for_ac) = (usize::from(numbers >> 4), usize::from(numbers & 15));
        Some(Component {
            sampling: declared.sampling,
            quantization: (*tables.quantization.get(declared.quantization)?)?,
            dc: shared(&mut dc, &tables.dc, for_dc, Dc::new)?,
            ac: shared(&mut ac, &tables.ac, for_ac, Ac::new)?,
        })
    };
    components.iter().zip(declared).map(component).collect()
}

/// The decoded table with this `number`. It is decoded on first use.
fn shared<T>(
    made: &mut [Option<Rc<T>>; 4],
    codes: &[Option<Codes>; 4],
    number: usize,
    make: fn(&[u8; 16], &[u8]) -> Option<T>,
) -> Option<Rc<T>> {
    let place = made.get_mut(number)?;
    if place.is_none() {
        let (counts, symbols) = (*codes.get(number)?)?;
        *place = Some(Rc::new(make(counts, symbols)?));
    }
    place.clone()
}

impl<'a> Tables<'a> {
    /// DQT segment: B.2.4.1.
    fn read_quantization(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&first, rest)) = content.split_first() {
            let mut table = [0; 64];
            let size = match first >> 4 {
                0 => 64,
                1 => 128,
                _ => return None,
            };
            let (values, after) = rest.split_at_checked(size)?;
            for (k, value) in table.iter_mut().enumerate() {
                *value = match size {
                    64 => u16::from(values[k]),
                    _ => u16::from_be_bytes([values[2 * k], values[2 * k + 1]]),
                };
            }
            *self.quantization.get_mut(usize::from(first & 15))? = Some(table);
            content = after;
        }
        Some(())
    }

    /// DHT segment: B.2.4.2.
    fn read_huffman(&mut self, mut content: &'a [u8]) -> Option<()> {
        while let Some((&first, rest)) = content.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, after) = rest.split_at_checked(total)?;
            let number = usize::from(first & 15);
            match first >> 4 {
                0 => *self.dc.get_mut(number)? = Some((counts, symbols)),
                1 => *self.ac.get_mut(number)? = Some((counts, symbols)),
                _ => return None,
            }
            content = after;
        }
        Some(())
    }
}
