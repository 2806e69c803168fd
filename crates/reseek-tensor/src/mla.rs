//! What Multi-head Latent Attention does with its heads beside the products (DeepSeek-V2 report, 2.1): keys and values out of the
//! expanded latent and back, and the absorbed form's products of each head.
//!
//! Shapes: n rows, h heads, r the latent's width; a head's query and key have a part without position (`nope`) and a rotated part (`rope`),
//! q = nope + rope values; the rotated key is one for all heads.

use crate::buffer::{View, ViewMut};
use crate::compute::Compute;
use crate::fp8::rounded_blocks;
use crate::heads::{Heads, copy_heads, matmul_by_head};
use crate::matmul::Packed;
use crate::permute::copy_short;
use crate::profile::{Op, span};

/// Sizes of the heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MlaHeads {
    /// Heads, h.
    pub count: usize,
    /// Values of a query or key without position.
    pub nope: usize,
    /// Values of a query or key that carry the position.
    pub rope: usize,
    /// Values of a value.
    pub value: usize,
}

impl MlaHeads {
    /// Values of a head's query or key.
    pub fn query(self) -> usize {
        self.nope + self.rope
    }

    /// The rotated parts of queries or keys `[n, h, q]`.
    pub fn rotated(self) -> Heads {
        Heads::whole(self.count, self.query()).part(self.nope, self.rope)
    }

    /// Rows of `[n, h, width]`.
    #[track_caller]
    fn rows(self, name: &str, values: usize, width: usize) -> usize {
        Heads::whole(self.count, width).rows(name, values)
    }
}

/// Keys `[n, h, q]` and values `[n, h, value]` from the expanded latents `kv [n, h, nope + value]` and the rotated key `[n, rope]` that all
/// heads share.
///
/// # Panics
/// If the four differ in rows.
pub fn mla_expand<'m, 'v>(
    keys: impl Into<ViewMut<'m>>,
    values: impl Into<ViewMut<'m>>,
    kv: impl Into<View<'v>>,
    k_rope: impl Into<View<'v>>,
    heads: MlaHeads,
) {
    let (keys, values, kv, k_rope) = (keys.into().0, values.into().0, kv.into().0, k_rope.into().0);
    check(&[keys.len(), values.len(), kv.len(), k_rope.len()], heads);
    let _span = span(Op::Permute, 0, keys.len() + values.len() + kv.len() + k_rope.len());
    let MlaHeads { count, nope, rope, value } = heads;
    let parts =
        keys.chunks_exact_mut(nope + rope).zip(values.chunks_exact_mut(value)).zip(kv.chunks_exact(nope + value));
    for (head, ((key, v), kv)) in parts.enumerate() {
        let row = head / count;
        copy_short(&mut key[..nope], &kv[..nope]);
        copy_short(&mut key[nope..], &k_rope[row * rope..(row + 1) * rope]);
        copy_short(v, &kv[nope..]);
    }
}

/// The gradient of [`mla_expand`]: `dkv [n, h, nope + value]`, and `dk_rope [n, rope]` summed over the heads in order; both are overwritten.
///
/// # Panics
/// If the four differ in rows.
pub fn mla_fold<'m, 'v>(
    dkv: impl Into<ViewMut<'m>>,
    dk_rope: impl Into<ViewMut<'m>>,
    dkeys: impl Into<View<'v>>,
    dvalues: impl Into<View<'v>>,
    heads: MlaHeads,
) {
    let (dkv, dk_rope, dkeys, dvalues) = (dkv.into().0, dk_rope.into().0, dkeys.into().0, dvalues.into().0);
    check(&[dkeys.len(), dvalues.len(), dkv.len(), dk_rope.len()], heads);
    let _span = span(Op::Permute, heads.count * dk_rope.len(), dkeys.len() + dvalues.len() + dkv.len() + dk_rope.len());
    let MlaHeads { count, nope, rope, value } = heads;
    dk_rope.fill(0.0);
    let parts =
        dkv.chunks_exact_mut(nope + value).zip(dkeys.chunks_exact(nope + rope).zip(dvalues.chunks_exact(value)));
    for (head, (dkv, (dkey, dvalue))) in parts.enumerate() {
        copy_short(&mut dkv[..nope], &dkey[..nope]);
        copy_short(&mut dkv[nope..], dvalue);
        let row = head / count;
        let sum = &mut dk_rope[row * rope..(row + 1) * rope];
        sum.iter_mut().zip(&dkey[nope..]).for_each(|(sum, d)| *sum += d);
    }
}

#[track_caller]
fn check([keys, values, kv, k_rope]: &[usize; 4], heads: MlaHeads) {
    let n = heads.rows("keys", *keys, heads.query());
    let others = [heads.rows("values", *values, heads.value), heads.rows("kv", *kv, heads.nope + heads.value)];
    assert!(
        others == [n; 2] && *k_rope == n * heads.rope,
        "keys of {n} rows, values and kv of {others:?}, the rotated key of {k_rope} values: {heads:?}"
    );
}

/// Each head's part of the latent's expansion, for the absorbed form: queries meet the latents themselves, and attended latents become
/// values.
#[derive(Clone, Debug)]
pub struct Absorbed {
    heads: MlaHeads,
    latent: usize,
    /// Takes a query's part without position to the latent space, `[nope, r]` for each head.
    keys: Vec<Packed>,
    /// Takes attended latents to values, `[r, value]` for each head.
    values: Vec<Packed>,
}

impl Absorbed {
    /// From the weight `w: [h · (nope + value), latent]` of the expansion. Where it is multiplied in fp8, the values that it has there, in
    /// bf16: as DeepSeek-V3's inference/model.py does.
    ///
    /// # Panics
    /// If `w` has another size.
    pub fn pack(w: &[f32], heads: MlaHeads, latent: usize, compute: Compute) -> Self {
        let MlaHeads { count, nope, value, .. } = heads;
        let size = (nope + value) * latent;
        assert_eq!(w.len(), count * size, "w has {} values for latents of {latent} and {heads:?}", w.len());
        let rounded = (compute == Compute::Fp8).then(|| rounded_blocks(w, latent));
        let dtype = compute.dtype();
        let of_heads = rounded.as_deref().unwrap_or(w).chunks_exact(size).map(|w| w.split_at(nope * latent));
        let (keys, values) = of_heads
            .map(|(key, v)| {
                (Packed::from_rows(key, nope, latent, dtype), Packed::from_transposed(v, value, latent, dtype))
            })
            .unzip();
        Self { heads, latent, keys, values }
    }

    /// Queries `[n, h, r + rope]` that meet latents beside rotated keys, from queries `q: [n, h, q]`.
    ///
    /// # Panics
    /// If the two differ in rows.
    pub fn queries<'m, 'v>(&self, out: impl Into<ViewMut<'m>>, q: impl Into<View<'v>>) {
        let (out, q) = (out.into().0, q.into().0);
        let MlaHeads { count, nope, rope, .. } = self.heads;
        let (to, from) = (Heads::whole(count, self.latent + rope), Heads::whole(count, nope + rope));
        matmul_by_head(&mut *out, to.part(0, self.latent), q, from.part(0, nope), &self.keys);
        copy_heads(out, to.part(self.latent, rope), q, from.part(nope, rope));
    }

    /// Values `[n, h, value]` from attended latents `o: [n, h, r]`.
    ///
    /// # Panics
    /// If the two differ in rows.
    pub fn values<'m, 'v>(&self, out: impl Into<ViewMut<'m>>, o: impl Into<View<'v>>) {
        let (out, o) = (out.into().0, o.into().0);
        let MlaHeads { count, value, .. } = self.heads;
        matmul_by_head(out, Heads::whole(count, value), o, Heads::whole(count, self.latent), &self.values);
    }
}
