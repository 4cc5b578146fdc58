"""The last attention block of a timm ViT, opened: its input, one projection, the CLS attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cleave.spec import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

PROJECTIONS = ("query", "key", "value")
_KNOWN = ("Attention", "AttentionRope", "EvaAttention")


class LastBlock(NamedTuple):
    """What the last block's attention is given, and what comes out of the whole network."""

    inputs: Tensor  # (B, T, C), normalised tokens, prefix tokens first
    rope: Tensor | None  # rotary position code, where the model has one
    tokens: Tensor | None  # (B, T, C), after the last block and the final norm, if it was run


class _Reached(Exception):
    """The network has come to where it need go no further."""


def check(network: nn.Module, name: str) -> None:
    """Refuses a network that does not have the parts used here.

    Raises:
        ConfigError: with the classes that are known.
    """
    parts = all(hasattr(network, part) for part in ("blocks", "patch_embed", "num_prefix_tokens"))
    kind = type(getattr(network.blocks[-1], "attn", None)).__name__ if parts else "none"
    if kind not in _KNOWN:
        raise ConfigError(
            f"model: {name!r} has attention of kind {kind} in its last block; "
            f"known: {', '.join(_KNOWN)}"
        )


def run_to_last_block(network: nn.Module, images: Tensor, *, whole: bool) -> LastBlock:
    """Runs the network up to the input of its last attention, or, if `whole`, to its end.

    The reference runs the whole network to hook one linear layer, and adds another hook at every
    call; here the last block's attention and MLP are left out unless they are asked for, and the
    hook goes when the call is over.

    Args:
        images: (B, 3, H, W) float32, normalised.
    """
    seen: dict[str, Any] = {}

    def look(_module: nn.Module, positional: tuple, named: dict[str, Any]) -> None:
        seen["inputs"], seen["rope"] = positional[0], named.get("rope")
        if not whole:
            raise _Reached

    hook = network.blocks[-1].attn.register_forward_pre_hook(look, with_kwargs=True)
    tokens = None
    try:
        tokens = network.forward_features(images)
    except _Reached:
        pass
    finally:
        hook.remove()
    if tokens is not None:
        tokens = network.fc_norm(tokens)  # the final norm of models that pool first, else nothing
    return LastBlock(seen["inputs"], seen["rope"], tokens)


def project(attention: nn.Module, inputs: Tensor, which: str) -> Tensor:
    """Query, key or value of every token, heads side by side: (B, T, C) to (B, T, heads * d).

    What DINO, TokenCut and CutLER hook: the linear layer's output with its bias, before any norm
    of queries and keys and before any rotary code. Of a fused layer only one third is computed.
    """
    from torch.nn.functional import linear

    if attention.qkv is None:
        return getattr(attention, f"{which[0]}_proj")(inputs)
    width = attention.qkv.weight.shape[0] // 3
    third = slice(PROJECTIONS.index(which) * width, (PROJECTIONS.index(which) + 1) * width)
    if attention.qkv.bias is not None:
        bias = attention.qkv.bias[third]
    else:
        bias = getattr(attention, f"{which[0]}_bias", None)  # EVA keeps three apart
    return linear(inputs, attention.qkv.weight[third], bias)


def class_attention(attention: nn.Module, last: LastBlock, key: Tensor) -> Tensor:
    """Softmax of the CLS token's query over all tokens: (B, heads, T).

    Only this row of the attention is computed, with the norms and rotary code that the network
    itself applies. CLS stands before the patches, so its query has no rotary code.

    Args:
        key: (B, T, heads * d), from `project`.
    """
    query = project(attention, last.inputs[:, :1], "query")
    query, key = (x.unflatten(2, (-1, attention.head_dim)).transpose(1, 2) for x in (query, key))
    query, key = attention.q_norm(query), attention.k_norm(key)
    if last.rope is not None:
        key = _rotate(attention, key, last.rope)
    if key.shape[1] != query.shape[1]:  # grouped-query attention: several heads share a key
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    return ((query * attention.scale) @ key.transpose(2, 3)).softmax(-1)[:, :, 0]


def _rotate(attention: nn.Module, key: Tensor, rope: Tensor) -> Tensor:
    import torch
    from timm.layers import apply_rot_embed_cat

    prefix, patches = key.tensor_split([attention.num_prefix_tokens], dim=2)
    return torch.cat([prefix, apply_rot_embed_cat(patches, rope, half=attention.rotate_half)], 2)
