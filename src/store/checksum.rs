//! Checksums in a file beside the file, in Hadoop's form, so that Spark checks what we wrote and we what Spark wrote.
//!
//! The sums of `N` lie in `.N.crc`: the bytes `crc\0`, the size of a block (512) and a CRC-32 of each block, all big-endian.

/// Bytes of a sum's block.
const BLOCK: usize = 512;
const MAGIC: &[u8; 4] = b"crc\0";

/// The name of the file with the sums of `name`.
pub(super) fn name(name: &str) -> String {
    format!(".{name}.crc")
}

/// The content of the file with the sums of `bytes`.
pub(super) fn of(bytes: &[u8]) -> Vec<u8> {
    let mut sums = MAGIC.to_vec();
    sums.extend_from_slice(&512_u32.to_be_bytes());
    bytes.chunks(BLOCK).for_each(|block| sums.extend_from_slice(&crc(block).to_be_bytes()));
    sums
}

/// Checks `bytes` against their sums. An empty file of sums proves nothing: it was not written to the end before a loss of
/// power, or there is none.
pub(super) fn verify(bytes: &[u8], sums: &[u8]) -> Result<(), &'static str> {
    if sums.is_empty() {
        return Ok(());
    }
    let body = sums.strip_prefix(MAGIC).and_then(<[u8]>::split_first_chunk::<4>);
    let (size, sums) = body.ok_or("its checksum file is damaged")?;
    let block = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(0);
    if block == 0 {
        return Err("its checksum file is damaged");
    }
    let given = bytes.chunks(block).map(|block| crc(block).to_be_bytes());
    if given.eq(sums.chunks(4).map(|sum| <[u8; 4]>::try_from(sum).unwrap_or_default())) {
        Ok(())
    } else {
        Err("it is torn or was changed: its checksum is wrong")
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_hadoops() {
        let expected = [&b"crc\0\0\0\x02\0"[..], &0xcbf4_3926_u32.to_be_bytes()].concat();
        assert_eq!(of(b"123456789"), expected);
        assert_eq!(of(b"").len(), 8);
        assert_eq!(of(&[7; 1025]).len(), 8 + 3 * 4);
    }

    #[test]
    fn c03_every_flipped_bit_and_every_cut_is_found() {
        let bytes: Vec<u8> = (0..700_u32).flat_map(u32::to_le_bytes).collect();
        let sums = of(&bytes);
        assert_eq!(verify(&bytes, &sums), Ok(()));
        for bit in (0..bytes.len() * 8).step_by(97) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&flipped, &sums).is_err(), "bit {bit}");
        }
        for length in (0..bytes.len()).step_by(61) {
            assert!(verify(&bytes[..length], &sums).is_err(), "length {length}");
        }
        assert!(verify(&bytes, &sums[..5]).is_err());
    }
}
