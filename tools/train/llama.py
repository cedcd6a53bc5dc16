"""Llama, with the names of parameters that Hugging Face has, so that a checkpoint is its state_dict.

Residual stream and norms are f32, whatever the matrices are multiplied in (torch.autocast). Attention is the context's
(context.py). Rows: [batch, tokens].
"""

import math

import torch
from torch import nn
import torch.nn.functional as F

INITIAL_DEVIATION = 0.02


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight.float()


class Attention(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.head_dim = shape.head_dim
        q, kv, bias = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.attention_bias
        self.q_proj = nn.Linear(shape.hidden, q, bias)
        self.k_proj = nn.Linear(shape.hidden, kv, bias)
        self.v_proj = nn.Linear(shape.hidden, kv, bias)
        self.o_proj = nn.Linear(q, shape.hidden, bias)

    def forward(self, x, layer, context):
        q, k, v = (project(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # [batch, heads, tokens, head_dim]
                   for project in (self.q_proj, self.k_proj, self.v_proj))
        return self.o_proj(context.attend(layer, q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.ffn, shape.mlp_bias)
        self.up_proj = nn.Linear(shape.hidden, shape.ffn, shape.mlp_bias)
        self.down_proj = nn.Linear(shape.ffn, shape.hidden, shape.mlp_bias)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.input_layernorm = Norm(shape.hidden, shape.rms_norm_eps)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape.hidden, shape.rms_norm_eps)
        self.mlp = Mlp(shape)

    def forward(self, x, layer, context):
        dtype = self.mlp.up_proj.weight.dtype
        x = x + self.self_attn(self.input_layernorm(x).to(dtype), layer, context)
        return x + self.mlp(self.post_attention_layernorm(x).to(dtype))


class Llama(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(shape.vocab, shape.hidden)
        self.model.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.model.norm = Norm(shape.hidden, shape.rms_norm_eps)
        if not shape.tied_embeddings:
            self.lm_head = nn.Linear(shape.hidden, shape.vocab, bias=False)

    def initialise(self, seed):
        """Draws all matrices; those that write to the residual stream smaller, as there are many of them."""
        random = torch.Generator().manual_seed(seed)
        residual = INITIAL_DEVIATION / math.sqrt(2 * self.shape.layers)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() > 1:
                    deviation = residual if "o_proj" in name or "down_proj" in name else INITIAL_DEVIATION
                    parameter.copy_(torch.empty(parameter.shape).normal_(std=deviation, generator=random))
                elif name.endswith("bias"):
                    parameter.zero_()
        return self

    def forward(self, tokens, context):
        """i64 [batch, tokens] -> hidden states behind the last norm, f32 [batch, tokens, hidden]."""
        x = self.model.embed_tokens(tokens).float()
        for i, layer in enumerate(self.model.layers):
            x = layer(x, i, context)
        return self.model.norm(x)

    def logits(self, hidden):
        """f32 [..., hidden] -> [..., vocab], in f32 but for what autocast does."""
        head = self.model.embed_tokens if self.shape.tied_embeddings else self.lm_head
        return F.linear(hidden.to(head.weight.dtype), head.weight).float()

    @property
    def dtype(self):
        return self.model.embed_tokens.weight.dtype

    def parameter_count(self):
        return sum(p.numel() for p in self.parameters())
