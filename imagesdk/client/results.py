"""What a call returns: handles over image bytes, wherever they are."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, overload

import attrs
import pybase64

from imagesdk.client.downloads import expiry
from imagesdk.errors import Attempt, ImageSDKError
from imagesdk.models.requests import given_repr
from imagesdk.protocol.imageinfo import HEAD_BYTES, MIME_TYPES, dimensions, sniff
from imagesdk.protocol.refusals import shown_url
from imagesdk.sinks import StoredImage, check_folder, check_name, save_as, save_new

__all__ = ("Fetch", "Image", "ImagesResponse", "SaveTo", "SavedTo_co")

Fetch: TypeAlias = Callable[[str, datetime | None], Awaitable[bytes]]

# Whether a call was given a folder as ``save_to=`` is in the type of its result: then `Image.path` is a Path, else it
# may be None. SaveTo takes one of two values, and so there are two types of results, of which the first is a subtype
# of the second, the one without brackets. Two signatures (overloads) would do the same, but for each mistake in a call
# mypy prints all parameters of both, 3,300 characters, and does not say which one is wrong (2.4, 2026-11-26). It does not
# look at the None that a call without ``save_to=`` has, but takes the default of SaveTo, hence the ignores in the
# signatures: https://github.com/python/mypy/issues/3737 (read 2026-11-26)
if TYPE_CHECKING:
    from typing_extensions import TypeVar

    _Folder: TypeAlias = str | os.PathLike[str]
    SaveTo = TypeVar("SaveTo", _Folder, _Folder | None, default=_Folder | None)
    SavedTo_co = TypeVar("SavedTo_co", bound=_Folder | None, default=_Folder | None, covariant=True)

    class _PathOf:
        """What `Image.path` is."""

        @overload
        def __get__(self, image: Image[_Folder], owner: object) -> Path: ...
        @overload
        def __get__(self, image: Image, owner: object) -> Path | None: ...
        def __get__(self, image: Image, owner: object) -> Path | None: ...
        def __set__(self, image: Image, path: Path) -> None: ...

else:
    from typing import TypeVar  # before Python 3.13 it takes no default, which no program needs

    SaveTo = TypeVar("SaveTo")
    SavedTo_co = TypeVar("SavedTo_co", covariant=True)


def _without_secrets(url: str | None) -> str:
    return repr(url and shown_url(url))


@attrs.define(eq=False, kw_only=True)
class Image(Generic[SavedTo_co]):
    """One image of an answer.

    Attributes:
        url: As the server sent it, possibly relative; None if the image itself arrived.
        revised_prompt: The prompt that the model really used, None if the server does not say.
        path: Where the image was saved last, None before that. One that was saved with ``save_to=`` is
            nowhere else: `read` and `save` need that file.
        extra: Fields of the answer that are not known.
    """

    url: str | None = attrs.field(default=None, repr=_without_secrets)
    revised_prompt: str | None = None
    if not TYPE_CHECKING:
        path: Path | None = None
    if TYPE_CHECKING:
        path: ClassVar[_PathOf] = _PathOf()
    extra: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    _created: int | None = attrs.field(default=None, repr=False, alias="created")
    _expires_at: datetime | None = attrs.field(default=None, repr=False)
    _content: bytes | None = attrs.field(default=None, repr=False, alias="content")
    _stored: StoredImage | None = attrs.field(default=None, repr=False, alias="stored")
    _fetch: Fetch | None = attrs.field(default=None, repr=False, alias="fetch")
    _reading: asyncio.Lock | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self._stored is not None:
            self._is_at(self._stored.path)

    def __repr__(self) -> str:
        size = self._dimensions()
        known = f"{self.mime_type or ''}{' {}x{}'.format(*size) if size else ''}"
        return given_repr(self, known) if known else given_repr(self)

    @property
    def expires_at(self) -> datetime | None:
        """When *url* stops working (UTC): what it says itself, or an hour after creation."""
        if self._expires_at is not None or self.url is None:
            return self._expires_at
        return expiry(self.url, self._created)  # not before: reading a signed URL takes 20 us

    @property
    def b64_json(self) -> str | None:
        """The image as base64 text, made anew at each use; None for one at a URL or on disk."""
        if self._content is None or self.url is not None:
            return None
        return pybase64.b64encode(self._content).decode("ascii")

    @property
    def mime_type(self) -> str | None:
        """Type of the image, from its bytes; None for an image that was not read yet, or is none."""
        if self._stored is not None:
            kind = self._stored.kind
        else:
            kind = sniff(self._content[:HEAD_BYTES]) if self._content is not None else None
        return MIME_TYPES[kind] if kind else None

    @property
    def width(self) -> int | None:
        """Width in pixels, from the bytes; None as for `mime_type`."""
        size = self._dimensions()
        return size[0] if size else None

    @property
    def height(self) -> int | None:
        """Height in pixels, from the bytes; None as for `mime_type`."""
        size = self._dimensions()
        return size[1] if size else None

    def _dimensions(self) -> tuple[int, int] | None:
        if self._stored is not None:
            return self._stored.dimensions
        return dimensions(self._content) if self._content is not None else None

    async def read(self) -> bytes:
        """Return the bytes of the image file, downloading them once if it is at a URL.

        An image that was saved with ``save_to=`` is read from `path` each time.

        Raises:
            OSError: That file can no longer be read.
            ExpiredURLError: The URL no longer works.
            TransportError: The download failed.
            ConfigurationError: The session is closed: it must be open to download.
        """
        content = await self._source()
        if isinstance(content, bytes):
            return content
        return await asyncio.to_thread(content.read_bytes)

    async def _source(self) -> bytes | Path:
        """Return the image, or the file that it is in; download it if need be."""
        if self._stored is not None:
            return self.path or self._stored.path
        if self._content is not None:
            return self._content
        self._reading = self._reading or asyncio.Lock()
        async with self._reading:  # whoever asks second waits for the first one's download
            if self._content is None:
                if self._fetch is None or self.url is None:
                    raise ImageSDKError("this image has no session to download it with")
                self._content = await self._fetch(self.url, self.expires_at)
            return self._content

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Save the image and return the path that was written.

        The file appears complete or not at all, and replaces what is there. Its suffix is that of
        the bytes: ``cat`` and ``cat.png`` become ``cat.jpg`` if the server sent a JPEG image.

        Args:
            path: Where to, with or without a suffix; folders are made if need be.

        Returns:
            The path that was written.

        Raises:
            ExpiredURLError: The URL no longer works.
            OSError: The file cannot be written; the image stays readable.
        """
        return self._is_at(await asyncio.to_thread(save_as, path, await self._source()))

    async def _save_new(self, folder: str | os.PathLike[str], name: str) -> Path:
        return self._is_at(await asyncio.to_thread(save_new, folder, name, await self._source()))

    def _is_at(self, path: Path) -> Path:
        self.path = path  # type: ignore[misc]  # mypy takes a descriptor for a variable of the class
        return path

    def __getstate__(self) -> dict[str, Any]:
        """Leave the session behind: a copy in another process can not download."""
        state = {a.name: getattr(self, a.name) for a in attrs.fields(Image)}
        del state["_reading"]
        return state | {"_fetch": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._reading = None
        for name, value in state.items():
            setattr(self, name, value)


@attrs.define(eq=False, kw_only=True)
class ImagesResponse(Generic[SavedTo_co]):
    """The images of one call, in the server's order.

    Attributes:
        created: When they were made, in seconds since 1970; None if the server does not say.
        data: The images.
        usage: Tokens, as the server counts them; the sum where the call was split.
        background: As the server says.
        output_format: As the server says; `Image.mime_type` is what the bytes say.
        quality: As the server says.
        size: As the server says.
        request_id: The server's ``x-request-id``, of the first part where the call was split.
        headers: Headers of the answer, names in lower case, of the first part.
        attempts: The HTTP exchanges that it took, in order.
        extra: Fields of the answer that are not known.
    """

    created: int | None
    data: tuple[Image[SavedTo_co], ...]
    usage: Mapping[str, Any] | None = None
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None
    request_id: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    attempts: tuple[Attempt, ...] = attrs.field(default=(), repr=False)
    extra: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    def __repr__(self) -> str:
        return given_repr(self)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of the images that are on disk, in order: with ``save_to=``, of all of them."""
        return tuple([image.path for image in self.data if image.path is not None])

    async def save(self, folder: str | os.PathLike[str], *, name: str = "image") -> list[Path]:
        """Save all images into *folder*, made if need be, and return their paths in order.

        The files are ``name-1.png``, ``name-2.png`` and so on, with the suffix that the bytes call for;
        a name that is taken is skipped, so that nothing is ever replaced.

        Args:
            folder: Where to. One file of a name of your own: ``data[0].save(path)``.
            name: First part of the file names, without a path separator.

        Returns:
            The paths that were written, in the order of the images.

        Raises:
            InvalidRequestError: *name* cannot be one, or *folder* is the name of an image file.
            ExpiredURLError: A URL no longer works. The other images are saved all the same.
            OSError: A file cannot be written. The images stay readable.

        Example:
            >>> import asyncio, tempfile
            >>> from imagesdk import ImageSession
            >>> async def main(folder):
            ...     async with ImageSession(api_key=key, base_url=url) as images:
            ...         result = await images.generate("a fox", n=2, size="256x256")
            ...         return [path.name for path in await result.save(folder, name="fox")]
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     asyncio.run(main(folder))
            ['fox-1.png', 'fox-2.png']
        """
        check_name(name)
        await asyncio.to_thread(check_folder, folder)
        # Download side by side, name in order.
        downloads = (image._source() for image in self.data)  # noqa: SLF001 - the two classes are one handle
        read = await asyncio.gather(*downloads, return_exceptions=True)
        failures = [outcome for outcome in read if isinstance(outcome, BaseException)]
        paths = [
            await image._save_new(folder, name)  # noqa: SLF001
            for image, outcome in zip(self.data, read, strict=True)
            if not isinstance(outcome, BaseException)
        ]
        if failures:
            failures[0].add_note(
                f"{len(paths)} of {len(self.data)} images were saved: "
                + ", ".join(str(path) for path in paths)
            )
            raise failures[0]
        return paths
