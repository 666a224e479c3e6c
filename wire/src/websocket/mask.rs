//! Masking (RFC 6455 section 5.3): payload byte `i` is XORed with byte `i mod 4` of the key.

/// Masks or unmasks `data`, the first byte of which is byte `offset` of the frame's payload.
pub fn mask(data: &mut [u8], key: [u8; 4], offset: u64) {
    if key == [0; 4] {
        return;
    }
    let mut key = key;
    key.rotate_left((offset % 4) as usize);
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = data.chunks_exact_mut(8);
    for chunk in &mut words {
        let chunk: &mut [u8; 8] = chunk.try_into().expect("chunks_exact_mut gives 8 bytes");
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (index, byte) in words.into_remainder().iter_mut().enumerate() {
        *byte ^= key[index % 4];
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn same_as_the_formula_at_every_length_and_offset() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for offset in 0..9_u64 {
            for length in 0..70_usize {
                let mut data: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
                let expected: Vec<u8> = data
                    .iter()
                    .enumerate()
                    .map(|(i, byte)| byte ^ key[((offset + i as u64) % 4) as usize])
                    .collect();
                mask(&mut data, key, offset);
                assert_eq!(data, expected, "length {length}, offset {offset}");
            }
        }
    }
}
