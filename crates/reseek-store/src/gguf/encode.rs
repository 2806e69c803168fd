//! From f32 values to the blocks of a kind.

use half::f16;

use super::BlockKind;

/// Whether [`encode`] knows the kind.
pub(super) fn is_written(kind: BlockKind) -> bool {
    matches!(kind, BlockKind::F32 | BlockKind::F16 | BlockKind::Q8_0 | BlockKind::Q4_0)
}

/// Appends the blocks of whole rows, as ggml's reference rounds them.
///
/// # Errors
/// The index of a value that the kind cannot hold.
///
/// # Panics
/// If the kind is not [written](is_written), or the values are no whole blocks.
pub(super) fn encode(kind: BlockKind, values: &[f32], out: &mut Vec<u8>) -> Result<(), usize> {
    if let (true, Some(index)) = (kind != BlockKind::F32, values.iter().position(|value| value.abs() > 65_504.0)) {
        return Err(index);
    }
    let blocks = values.chunks_exact(kind.values_per_block());
    assert!(blocks.remainder().is_empty(), "{} values are no whole blocks of {kind:?}", values.len());
    for block in blocks {
        match kind {
            BlockKind::F32 => out.extend(block[0].to_le_bytes()),
            BlockKind::F16 => out.extend(f16::from_f32(block[0]).to_le_bytes()),
            BlockKind::Q8_0 => {
                let scale = block.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / 127.0;
                let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
                out.extend(f16::from_f32(scale).to_le_bytes());
                out.extend(block.iter().map(|value| (value * inverse).round() as i8 as u8));
            }
            BlockKind::Q4_0 => {
                let most = block.iter().copied().fold(0.0_f32, |most, x| if x.abs() > most.abs() { x } else { most });
                let scale = most / -8.0;
                let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
                let q = |value: f32| ((value * inverse + 8.5) as u8).min(15);
                out.extend(f16::from_f32(scale).to_le_bytes());
                out.extend((0..16).map(|i| q(block[i]) | q(block[16 + i]) << 4));
            }
            other => panic!("{other:?} is not written"),
        }
    }
    Ok(())
}
