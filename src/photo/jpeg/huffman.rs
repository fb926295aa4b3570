//! Entropy-coded segment → DCT coefficients.

use super::coefficients::{Block, Kept};

/// Width of the lookup tables in bits. Longer codes are rare.
const LOOKUP_BITS: u32 = 11;

/// An advance beyond the last coefficient of a block: end of block.
const END: u8 = 128;

/// Copies the bytes up to the next marker to `buffer`, without stuffed zeros (F.1.2.3), and returns the
/// marker.
pub(super) fn interval(rest: &mut &[u8], buffer: &mut Vec<u8>) -> Option<u8> {
    buffer.clear();
    loop {
        let (before, after) = rest.split_at(memchr::memchr(0xff, rest)?);
        buffer.extend_from_slice(before);
        let (&next, after) = after.get(1..)?.split_first()?;
        *rest = after;
        match next {
            0x00 => buffer.push(0xff),
            marker => return Some(marker),
        }
    }
}

/// Bit reader of a restart interval.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Position of the next byte to load into `held`.
    next: usize,
    /// The next bits, from the most significant down. Below the first `count` bits may be bits that a
    /// later refill loads again.
    held: u64,
    /// Number of valid bits in `held`.
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            next: 0,
            held: 0,
            count: 0,
        }
    }

    /// Loads bits until at least 56 are valid; past the end they are zeros.
    #[inline(always)]
    fn refill(&mut self) {
        match self.bytes.get(self.next..).and_then(<[u8]>::first_chunk) {
            Some(chunk) => {
                self.held |= u64::from_be_bytes(*chunk) >> self.count;
                self.next += (63 - self.count as usize) / 8;
                self.count |= 56;
            }
            None => self.refill_at_the_end(),
        }
    }

    #[cold]
    fn refill_at_the_end(&mut self) {
        while self.count <= 56 {
            let byte = self.bytes.get(self.next).copied().unwrap_or(0);
            self.held |= u64::from(byte) << (56 - self.count);
            self.next += 1;
            self.count += 8;
        }
    }

    /// The next `count` bits, 1 to 32, without consuming them.
    #[inline(always)]
    fn peek(&self, count: u32) -> usize {
        (self.held >> (64 - count)) as usize
    }

    #[inline(always)]
    fn consume(&mut self, count: u32) {
        self.held <<= count;
        self.count -= count;
    }

    /// `Some` if no bit was read past the end.
    pub(super) fn within(&self) -> Option<()> {
        (self.next * 8 <= self.bytes.len() * 8 + self.count as usize).then_some(())
    }

    /// `Some` if the reader stands in the last byte: all was read and nothing past the end.
    pub(super) fn end(&self) -> Option<()> {
        let left = (self.bytes.len() * 8 + self.count as usize).checked_sub(self.next * 8)?;
        (left < 8).then_some(())
    }
}

/// A decoded coefficient and the run of zeros before it: F.1.2.2.
#[derive(Clone, Copy, Default)]
struct Symbol {
    /// Length of the code and its extra bits; 0 if that exceeds [`LOOKUP_BITS`].
    bits: u8,
    /// Distance from the previous coefficient in zigzag order, or [`END`].
    advance: u8,
    value: i16,
}

/// A Huffman table with a lookup table for short codes.
struct Table {
    codes: Codes,
    /// Indexed by the next [`LOOKUP_BITS`] bits.
    symbols: Box<[Symbol; 1 << LOOKUP_BITS]>,
}

impl Table {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let codes = Codes::new(counts, symbols)?;
        let mut table = Box::new([Symbol::default(); 1 << LOOKUP_BITS]);
        for (window, symbol) in table.iter_mut().enumerate() {
            let window = (window as u32) << (32 - LOOKUP_BITS);
            *symbol = codes
                .symbol(window)
                .filter(|symbol| u32::from(symbol.bits) <= LOOKUP_BITS)
                .unwrap_or_default();
        }
        Some(Self {
            codes,
            symbols: table,
        })
    }

    #[inline(always)]
    fn symbol(&self, bits: &Bits) -> Option<Symbol> {
        match self.symbols[bits.peek(LOOKUP_BITS)] {
            Symbol { bits: 0, .. } => self.codes.symbol(bits.peek(32) as u32),
            symbol => Some(symbol),
        }
    }
}

/// Canonical Huffman codes by their length: F.2.2.3.
struct Codes {
    /// For each length from 1 on: the first longer code, left-aligned in 16 bits.
    limits: [u32; 16],
    /// For each length: the difference between the index into `symbols` and the code.
    offsets: [i32; 16],
    symbols: Vec<u8>,
}

impl Codes {
    fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let (mut limits, mut offsets) = ([0; 16], [0; 16]);
        let (mut code, mut place) = (0u32, 0i32);
        for (index, &count) in counts.iter().enumerate() {
            offsets[index] = place - code as i32;
            code += u32::from(count);
            place += i32::from(count);
            // Oversubscribed: more codes than this length has.
            if code > 2 << index {
                return None;
            }
            limits[index] = code << (15 - index);
            code <<= 1;
        }
        Some(Self {
            limits,
            offsets,
            symbols: symbols.to_vec(),
        })
    }

    /// Length and symbol of the code at the start of `window`.
    fn code(&self, window: u32) -> Option<(u32, u8)> {
        let window = window >> 16;
        let index = self.limits.iter().position(|&limit| window < limit)?;
        let place = (window >> (15 - index)) as i32 + self.offsets[index];
        Some((index as u32 + 1, *self.symbols.get(place as usize)?))
    }

    /// The code at the start of `window` with its extra bits.
    fn symbol(&self, window: u32) -> Option<Symbol> {
        let (length, symbol) = self.code(window)?;
        let (run, size) = (symbol >> 4, u32::from(symbol & 15));
        let value = match size {
            0 => 0,
            // EXTEND, F.2.2.1, figure F.12: a value whose first bit is 0 is negative.
            _ => match (window << length >> (32 - size)) as i32 {
                bits if bits >> (size - 1) == 0 => bits - (1 << size) + 1,
                bits => bits,
            },
        };
        Some(Symbol {
            bits: (length + size) as u8,
            advance: match symbol {
                0 => END,
                _ => run + 1,
            },
            value: value as i16,
        })
    }
}

/// Huffman table for DC coefficients.
pub(super) struct Dc(Table);

impl Dc {
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let is_size = |symbol: &u8| *symbol <= 15;
        symbols
            .iter()
            .all(is_size)
            .then_some(Self(Table::new(counts, symbols)?))
    }

    /// Difference to the DC coefficient of the previous block.
    pub(super) fn difference(&self, bits: &mut Bits) -> Option<i16> {
        bits.refill();
        let symbol = self.0.symbol(bits)?;
        bits.consume(symbol.bits.into());
        Some(symbol.value)
    }
}

/// Several coefficients that are skipped with one lookup.
#[derive(Clone, Copy, Default)]
struct Skip {
    bits: u8,
    /// Distance to the last of them; [`END`] if the first one does not fit into [`LOOKUP_BITS`].
    advance: u8,
    is_end: bool,
}

impl Skip {
    fn new(codes: &Codes, window: u32) -> Self {
        let mut skip = Self::default();
        while u32::from(skip.bits) < LOOKUP_BITS && !skip.is_end {
            let Some((length, symbol)) = codes.code(window << skip.bits) else {
                break;
            };
            let advance = skip.advance + (symbol >> 4) + 1;
            if u32::from(skip.bits) + length > LOOKUP_BITS || advance > 63 {
                break;
            }
            skip.bits += length as u8 + (symbol & 15);
            match symbol {
                0 => skip.is_end = true,
                _ => skip.advance = advance,
            }
        }
        match skip.bits {
            0 => Self {
                advance: END,
                ..skip
            },
            _ => skip,
        }
    }
}

/// Huffman table for AC coefficients.
pub(super) struct Ac {
    table: Table,
    /// Indexed by the next [`LOOKUP_BITS`] bits.
    skips: Box<[Skip; 1 << LOOKUP_BITS]>,
}

impl Ac {
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        // A run without a value exists only in progressive files.
        if symbols
            .iter()
            .any(|&symbol| symbol & 15 == 0 && symbol != 0 && symbol != 0xf0)
        {
            return None;
        }
        let table = Table::new(counts, symbols)?;
        let mut skips = Box::new([Skip::default(); 1 << LOOKUP_BITS]);
        for (window, skip) in skips.iter_mut().enumerate() {
            *skip = Skip::new(&table.codes, (window as u32) << (32 - LOOKUP_BITS));
        }
        Some(Self { table, skips })
    }

    /// Reads the AC coefficients of a block into `block`, and returns the zigzag index after the last kept
    /// one.
    pub(super) fn coefficients(
        &self,
        bits: &mut Bits,
        kept: &Kept,
        block: &mut Block,
    ) -> Option<usize> {
        let mut k = 1;
        while k < kept.end {
            bits.refill();
            let symbol = self.table.symbol(bits)?;
            bits.consume(symbol.bits.into());
            let next = k + usize::from(symbol.advance);
            match kept.slots.get(next - 1) {
                Some(&slot) => {
                    block[usize::from(slot)] = f32::from(symbol.value) * kept.factors[next - 1]
                }
                None if symbol.advance == END => return Some(k),
                None => return None,
            }
            k = next;
        }
        let end = k;
        while k < 64 {
            bits.refill();
            let skip = self.skips[bits.peek(LOOKUP_BITS)];
            let next = k + usize::from(skip.advance);
            if next < 64 {
                bits.consume(skip.bits.into());
                if skip.is_end {
                    break;
                }
                k = next;
                continue;
            }
            // The last coefficient of the block, or a long code.
            let symbol = self.table.symbol(bits)?;
            bits.consume(symbol.bits.into());
            if symbol.advance == END {
                break;
            }
            k += usize::from(symbol.advance);
            if k > 64 {
                return None;
            }
        }
        Some(end)
    }
}
