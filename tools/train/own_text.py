"""What a model itself says: rows that go on from prompts by its own draws."""

import torch

from context import GrowingContext

TEMPERATURES = (0.5, 1.0)  # of a row, drawn between them: a draft meets all of the settings that people use


@torch.no_grad()
def continue_rows(model, prompts, length, random):
    """i64 [rows, tokens] -> [rows, length]: each goes on at a temperature of its own.

    random: a torch.Generator of the prompts' device.
    """
    device, (rows, tokens) = prompts.device, prompts.shape
    dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else model.dtype
    context = GrowingContext(model.shape, rows, length, device, dtype)
    low, high = TEMPERATURES
    temperature = low + (high - low) * torch.rand(rows, 1, generator=random, device=device)
    text = torch.empty(rows, length, dtype=torch.long, device=device)
    text[:, :tokens] = prompts
    seen = prompts
    for end in range(tokens, length):
        hidden = model(seen, context)[:, -1]
        context.tokens = end
        law = torch.softmax(model.logits(hidden) / temperature, -1)
        seen = torch.multinomial(law, 1, generator=random)
        text[:, end:end + 1] = seen
    return text
