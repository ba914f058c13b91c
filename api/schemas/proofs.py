"""Bodies of checkpoints, signing keys and proofs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas.answers import Log
from api.schemas.fields import RequestModel
from api.schemas.lists import PageModel

_HASH = "64 hexadecimal digits."
Printable = r"^[^\x00-\x09\x0b-\x1f\x7f]*$"


class CosignatureView(BaseModel):
    """A witness's signature: its verifier key, and when it saw the checkpoint."""

    name: str
    key: str
    seen_at: str


class CheckpointView(BaseModel):
    """A signed checkpoint. ``note`` is the C2SP signed note, witnesses' lines included; ``keys`` are the ids of the
    log's own keys that signed it."""

    origin: str
    size: int
    root: str = Field(description=_HASH)
    keys: list[str]
    note: str
    cosignatures: list[CosignatureView]
    created_at: str


class CheckpointList(PageModel):
    """A page of checkpoints, the largest first."""

    items: list[CheckpointView]


class SigningKeyView(BaseModel):
    """A key that signs or signed checkpoints: its public half. ``current`` says that it signs now; it signs logs of
    more than ``log.index`` records."""

    id: str
    origin: str
    algorithm: str
    verifier_key: str
    pem: str
    current: bool
    made_by: str
    created_at: str
    log: Log


class SigningKeyList(BaseModel):
    """Every key that ever signed, the newest first. ``verifier_key`` and ``pem`` are of the one that signs now."""

    origin: str
    verifier_key: str
    pem: str
    keys: list[SigningKeyView]


class SigningKeyAdopted(BaseModel):
    """The key that signs from here on."""

    id: str
    origin: str
    algorithm: str
    verifier_key: str
    replaces: str | None = None
    log: Log


class SigningKeyRequest(RequestModel):
    """Make another key sign. There is nothing to say."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class CosignRequest(RequestModel):
    """A witness's cosignature: the note with its line, and the witness's verifier key."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "key": "w.example.com+b7a69a90+BOpKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs",
                    "note": (
                        "bursar/acme-0v1x2c3d\n"
                        "4711\n"
                        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
                        "\n"
                        "— bursar/acme-0v1x2c3d 3N4mFD2upz5fct8ovXCZrMrNAI9jzwE+obiWUOafTc4jhm9TmwW4JUjLl08uK"
                        "Hb8QHEo4xFHSBCd8VRLBi4qqWXDfA4=\n"
                        "— w.example.com t6aakAAAAABlU/EAOk4kr13tgIuM8s8+VS+pnk/F0B9wuN6KllFwmw5MgoFlAtIed0gK"
                        "iM7psE5jE3COXOO2heQsHWl8afyvOW/RAA==\n"
                    ),
                }
            ]
        }
    )

    key: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[!-~]*$")]
    note: Annotated[str, StringConstraints(min_length=1, max_length=65_536, pattern=Printable)]


class InclusionView(BaseModel):
    """That a record is in the log of ``size`` records: RFC 6962, section 2.1.1; hashes in hex, the lowest first."""

    index: int
    size: int
    leaf_hash: str = Field(description=_HASH)
    root: str = Field(description=_HASH)
    proof: list[str]
    position: int | None = None
    transfer: list[str] | None = Field(default=None, description="Debit, credit, atoms, currency.")


class ConsistencyView(BaseModel):
    """That the log of ``first`` records is the beginning of that of ``second``: RFC 6962, section 2.1.2."""

    first: int
    second: int
    first_root: str = Field(description=_HASH)
    second_root: str = Field(description=_HASH)
    proof: list[str]


class ProvedRecordView(BaseModel):
    """A record's exact bytes as text, and its proof of inclusion."""

    index: int
    record: str
    proof: list[str]


class ProofFileView(BaseModel):
    """A proof file: what `bursar verify-proof` checks."""

    format: str
    about: dict[str, Any]
    records: list[ProvedRecordView]
    checkpoint: str
