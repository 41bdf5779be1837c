"""Lists as people write them: prompts in a file, seeds as ranges."""

from pathlib import Path

from swiftpie.errors import ConfigError

PROMPT_FILE = "@"  # begins the name of a file of prompts
MAX_PROMPTS, MAX_PROMPT_BYTES = 1000, 1 << 20


def read_prompts(prompt: str) -> list[str]:
    """Return the prompts that PROMPT stands for: itself, or the lines of a file for @FILE.

    Empty lines, and lines that begin with #, are left out.

    Raises:
        ConfigError: The file cannot be read, has no prompts, or too many.
    """
    if not prompt.startswith(PROMPT_FILE):
        return [prompt]
    name = prompt.removeprefix(PROMPT_FILE)
    try:
        with Path(name).open("rb") as file:
            text = file.read(MAX_PROMPT_BYTES + 1).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"'{name}' cannot be read ({error}). A text file in UTF-8 is needed, one prompt a "
            "line. Check the path, or leave out the @ if it begins a prompt."
        ) from error
    lines = [line.strip() for line in text.splitlines()]
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not 1 <= len(prompts) <= MAX_PROMPTS or len(text) > MAX_PROMPT_BYTES:
        raise ConfigError(
            f"'{name}' holds {len(prompts)} prompts. 1 to {MAX_PROMPTS} are needed, one a line, in "
            f"at most {MAX_PROMPT_BYTES} bytes. Split the file, or write prompts into it."
        )
    return prompts
