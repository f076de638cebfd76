import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arrays import normal
from flax import linen as nn

from jaxemb.config import ConfigError
from jaxemb.nn.stem import CutPatches, Patches, Tokens, own_grids, patchify

IMAGES = normal(0, 2, 8, 12, 3)


def test_equals_a_convolution_whose_stride_is_its_kernel():
    conv = nn.Conv(5, (4, 4), strides=4, padding="VALID")
    params = conv.init(jax.random.key(1), IMAGES)["params"]
    flat = {"proj": {"kernel": params["kernel"].reshape(-1, 5), "bias": params["bias"]}}
    tokens, pos = Patches(4).apply({"params": flat}, IMAGES, width=5), Patches(4).positions(IMAGES)
    np.testing.assert_allclose(tokens, conv.apply({"params": params}, IMAGES).reshape(2, 6, 5), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(pos[0], [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]])


def test_patches_are_row_column_channel():
    np.testing.assert_array_equal(patchify(IMAGES, 4)[1, 4].reshape(4, 4, 3), IMAGES[1, 4:8, 4:8])


def test_keep_computes_the_kept_alone():
    stem, keep = Patches(4), jnp.array([[5, 0], [3, 3]])
    params = stem.init(jax.random.key(1), IMAGES, width=5)
    every = stem.apply(params, IMAGES, width=5)
    some, pos = stem.apply(params, IMAGES, width=5, keep=keep), stem.positions(IMAGES, keep)
    np.testing.assert_allclose(some, jnp.take_along_axis(every, keep[:, :, None], 1), rtol=1e-6)
    np.testing.assert_array_equal(pos[0], [[1, 2], [0, 0]])
    program = jax.jit(lambda x: stem.apply(params, x, width=5, keep=keep)).lower(IMAGES).as_text()
    products = [line for line in program.splitlines() if "dot_general" in line]
    assert len(products) == 1 and "(tensor<4x48xf32>, tensor<48x5xf32>)" in products[0], "only the four kept patches are projected"


def test_channels_first_is_the_order_of_a_convolution_of_pytorch():
    kernel = normal(3, 5, 3, 4, 4)  # there (out, in, rows, columns)
    flat = {"params": {"proj": {"kernel": kernel.reshape(5, -1).T}}}
    got = Patches(4, channels="first", bias=False).apply(flat, IMAGES, width=5)
    last = {"params": {"proj": {"kernel": kernel.transpose(2, 3, 1, 0).reshape(-1, 5)}}}
    np.testing.assert_allclose(got, Patches(4, bias=False).apply(last, IMAGES, width=5), rtol=1e-5, atol=1e-5)


def test_a_masked_patch_is_the_mask_token():
    stem = Patches(4, mask_token=True)
    params = stem.init(jax.random.key(1), IMAGES, width=5)
    masked = jnp.zeros((2, 6), jnp.int32).at[0, 2].set(1)
    whole, got = stem.apply(params, IMAGES, width=5), stem.apply(params, IMAGES, width=5, types=masked)
    np.testing.assert_array_equal(got[0, 2], params["params"]["mask_token"])
    np.testing.assert_array_equal(np.delete(got[0], 2, 0), np.delete(whole[0], 2, 0))
    kept = stem.apply(params, IMAGES, width=5, types=masked, keep=jnp.array([[2, 0], [1, 2]]))
    np.testing.assert_array_equal(kept[0, 0], params["params"]["mask_token"])
    with pytest.raises(ConfigError, match=r"Patches\(mask_token=False\) has no vector for these"):
        Patches(4).init(jax.random.key(1), IMAGES, width=5, types=masked)


def test_patches_that_were_cut_before_need_their_positions():
    stem = CutPatches(4)
    params = stem.init(jax.random.key(1), IMAGES, width=5)
    cut = patchify(IMAGES, 4)
    np.testing.assert_allclose(stem.apply(params, cut, width=5), stem.apply(params, IMAGES, width=5), rtol=1e-6)
    assert stem.grid(cut.shape[1:]) is None and stem.picture(cut) is None and stem.grid(IMAGES.shape[1:]) == (2, 3)
    with pytest.raises(ConfigError, match="need their positions: pass pos=own_grids"):
        stem.positions(cut)
    places = own_grids(jnp.array([[1, 3], [2, 2]]), 4)
    np.testing.assert_array_equal(places[0], [[0, 0, 1, 3], [0, 1, 1, 3], [0, 2, 1, 3], [0, 0, 1, 3]])
    np.testing.assert_array_equal(places[1, :, :2], [[0, 0], [0, 1], [1, 0], [1, 1]])


def test_images_that_do_not_divide_are_named():
    with pytest.raises(ConfigError, match=r"Patches\(size=5\) does not divide an image of 8 x 12"):
        Patches(5).init(jax.random.key(0), IMAGES, width=4)


def test_pixels_that_fill_no_patch_can_be_left_out():
    stem = Patches(3, leave_rest=True)
    params = stem.init(jax.random.key(0), IMAGES, width=4)
    got = stem.apply(params, IMAGES, width=4)
    np.testing.assert_array_equal(got, stem.apply(params, IMAGES[:, :6, :12], width=4))
    assert stem.grid(IMAGES.shape[1:]) == (2, 4) and stem.positions(IMAGES).shape == (1, 8, 2)
    with pytest.raises(ConfigError, match="does not divide an image of 8 x 12"):
        Patches(9, leave_rest=True).grid((8, 12))


def test_tokens_look_up_rows_and_refuse_foreign_ids():
    stem = Tokens(vocabulary=4)
    table = jnp.arange(8.0).reshape(4, 2)
    tokens, pos = stem.apply({"params": {"embedding": table}}, jnp.array([[3, 0, 4]]), width=2), stem.positions(jnp.zeros((1, 3)))
    np.testing.assert_array_equal(tokens[0, :2], [[6, 7], [0, 1]])
    negative = stem.apply({"params": {"embedding": table}}, jnp.array([[-1, 1]]), width=2)
    assert jnp.isnan(negative[0, 0]).all() and not jnp.isnan(negative[0, 1]).any(), "-1 is not the last row"
    assert jnp.isnan(tokens[0, 2]).all(), "an id outside the vocabulary must not read the last row"
    np.testing.assert_array_equal(pos[0, :, 0], [0, 1, 2])
    keep = jnp.array([[2, 0]])
    tokens, pos = (
        stem.apply({"params": {"embedding": table}}, jnp.array([[3, 0, 2]]), width=2, keep=keep),
        stem.positions(jnp.zeros((1, 3)), keep),
    )
    np.testing.assert_array_equal(tokens[0], [[4, 5], [6, 7]])
    np.testing.assert_array_equal(pos[0, :, 0], [2, 0])


# ---- what TrAct is compared with -------------------------------------------------------------------------------------------------


def test_positions_may_leave_out_padding_and_rows_be_scaled():
    """As RoBERTa counts, by the ids, wherever the padding stands; as Gemma scales."""
    ids = jnp.array([[1, 1, 5, 3, 0], [2, 1, 4, 1, 1]])
    np.testing.assert_array_equal(Tokens(6, pad=1).positions(ids)[..., 0], [[-1, -1, 0, 1, 2], [0, -1, 1, -1, -1]])
    keep = jnp.array([[4, 1], [2, 0]])
    np.testing.assert_array_equal(Tokens(6, pad=1).positions(ids, keep)[..., 0], [[2, -1], [1, 0]])
    params = {"params": {"embedding": normal(1, 6, 4), "type_embedding": normal(2, 2, 4)}}
    tokens = Tokens(6, types=2, scale=3.0).apply(params, ids, width=4, types=ids % 2)
    expected = 3 * params["params"]["embedding"][ids] + params["params"]["type_embedding"][ids % 2]
    np.testing.assert_allclose(tokens, expected, rtol=1e-6)


def test_patch_norm_forgets_brightness_and_contrast():
    stem = Patches(4, norm="patch")
    params = stem.init(jax.random.key(1), IMAGES, width=48)
    assert jax.tree.map(jnp.shape, params) == {"params": {"proj": {"kernel": (48, 48), "bias": (48,)}}}
    params["params"]["proj"]["kernel"] = jnp.eye(48)  # shows what is projected
    rows = stem.apply(params, IMAGES, width=48)
    np.testing.assert_allclose(rows.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(rows.std(-1), 1, rtol=1e-4)
    np.testing.assert_allclose(stem.apply(params, 3 * IMAGES + 2, width=48), rows, rtol=1e-3, atol=1e-4)


def test_dual_patch_norm_is_affine_on_both_sides():
    stem = Patches(4, norm="dual")
    params = stem.init(jax.random.key(1), IMAGES, width=5)["params"]
    shapes = {k: jax.tree.map(jnp.shape, params[k]) for k in ("norm_before", "norm_after")}
    assert shapes == {k: {"scale": (n,), "bias": (n,)} for k, n in (("norm_before", 48), ("norm_after", 5))}
    tokens = stem.apply({"params": params}, IMAGES, width=5)
    np.testing.assert_allclose(tokens.mean(-1), 0, atol=1e-5)
    plain = Patches(4, norm="patch").apply({"params": {"proj": params["proj"]}}, IMAGES, width=5)
    np.testing.assert_allclose(
        tokens, nn.LayerNorm(epsilon=1e-6).apply({"params": params["norm_after"]}, plain), rtol=1e-3, atol=1e-4
    )
