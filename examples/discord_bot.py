"""Paint in a Discord channel: who has to wait learns for how long, and nobody takes the queue for himself.

With DISCORD_TOKEN set it is a bot. Without, it rehearses with three people who all ask at once:
``imagesdk serve --port 0 -- python examples/discord_bot.py``.
"""

import asyncio
import os
from collections import Counter
from io import BytesIO
from typing import Any

import discord

from imagesdk import ImageSDKError, ImageSession

AT_ONCE = 2
"""Pictures that one person may wait for at the same time."""
ANSWER_WITHIN = 14 * 60.0
"""Seconds. A deferred answer can be given for 15 minutes, no longer.
https://docs.discord.com/developers/interactions/receiving-and-responding (read 2026-11-26)"""


class Painter:
    """What the bot does with ``/paint``, whoever it hears it from."""

    def __init__(self, images: ImageSession) -> None:
        self._images = images
        self._waiting: Counter[int] = Counter()

    async def paint(self, interaction: discord.Interaction[Any], prompt: str) -> None:
        """Answer at once, as Discord wants it within 3 seconds, and with the picture when it is there."""
        user = interaction.user.id
        if self._waiting[user] >= AT_ONCE:
            busy = f"You are waiting for {AT_ONCE} pictures already."
            await interaction.response.send_message(busy, ephemeral=True)
            return
        self._waiting[user] += 1
        try:
            await interaction.response.defer(thinking=True)
            await self._tell_the_wait(interaction)
            result = await self._images.generate(prompt, max_wait=ANSWER_WITHIN - 120, timeout=120)
            image = result.data[0]
            file = discord.File(BytesIO(await image.read()), filename="picture.png")
            await interaction.edit_original_response(content=prompt, attachments=[file])
        except ImageSDKError as error:
            await interaction.edit_original_response(content=f"No picture: {error}")
        finally:
            self._waiting[user] -= 1

    async def _tell_the_wait(self, interaction: discord.Interaction[Any]) -> None:
        state = self._images.snapshot()
        wait = self._images.forecast(state.queued_images + 1, state.queued + 1)
        if wait > 1:
            place = f"You are number {state.queued + 1} in the queue: about {wait:.0f} s."
            await interaction.edit_original_response(content=place)


class Bot(discord.Client):
    """The bot: a session that lives as long as its connection, and one command."""

    async def setup_hook(self) -> None:
        """Make the session and the command, inside the event loop and before anybody can ask."""
        self.images = ImageSession(model="gpt-image-2")
        self.tree = discord.app_commands.CommandTree(self)
        painter = Painter(self.images)

        @self.tree.command(description="Paint a picture")
        async def paint(interaction: discord.Interaction[Any], prompt: str) -> None:
            await painter.paint(interaction, prompt)

        await self.tree.sync()

    async def close(self) -> None:
        """Close the session with the connection."""
        await self.images.aclose()
        await super().close()


class Rehearsal:
    """Stands for an interaction: prints what the bot answers."""

    def __init__(self, name: str, number: int) -> None:
        self._name = name
        self.user = discord.Object(number)
        self.response = self

    async def defer(self, *, thinking: bool) -> None:
        """Do nothing: there is no clock of 3 seconds."""

    async def send_message(self, content: str, *, ephemeral: bool) -> None:
        """Print an answer, and who sees it."""
        print(f"{self._name}{' alone' if ephemeral else ''}: {content}")

    async def edit_original_response(
        self, content: str, attachments: list[discord.File] | None = None
    ) -> None:
        """Print an answer, and how large the file is that goes with it."""
        files = [f"[{file.filename}, {len(file.fp.read()):,} bytes]" for file in attachments or []]
        print(f"{self._name}:", content, *files)


async def rehearse() -> None:
    """Let ann ask for three pictures, and bob and cy for one each, where there are three a minute."""
    async with ImageSession(images_per_minute=float(os.environ.get("REHEARSE_AT", "3"))) as images:
        painter = Painter(images)
        people = [("ann", 1), ("ann", 1), ("ann", 1), ("bob", 2), ("cy", 3)]
        await asyncio.gather(
            *(painter.paint(_as_interaction(*person), "a red fox") for person in people)
        )


def _as_interaction(name: str, number: int) -> Any:  # noqa: ANN401 - what the bot uses of one
    return Rehearsal(name, number)


if __name__ == "__main__":
    if token := os.environ.get("DISCORD_TOKEN"):
        Bot(intents=discord.Intents.none()).run(token)
    else:
        asyncio.run(rehearse())
