"""The mark "made by a trained model" that travels in the file, as press agencies and image search read it.

IPTC's digital source type (https://cv.iptc.org/newscodes/digitalsourcetype/) in an XMP packet (ISO 16684-1).
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    '  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">\n'
    "   <xmp:CreatorTool>OpenT2V</xmp:CreatorTool>\n"
    f"   <Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>\n"
    "  </rdf:Description>\n"
    " </rdf:RDF>\n"
    "</x:xmpmeta>\n"
    '<?xpacket end="r"?>'
).encode()

# XMP specification part 3: the UUID box of ISO base media files.
_UUID = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes


def append_box(path: Path) -> None:
    """Put the packet behind the last box of a finished MP4 or MOV, where no offset inside the file changes."""
    with path.open("ab") as file:
        file.write((8 + len(_UUID) + len(PACKET)).to_bytes(4, "big") + b"uuid" + _UUID + PACKET)


def gif_extension() -> bytes:
    """The packet as GIF's application extension: it is not cut into sub-blocks; the tail leads any reader out again."""
    return b"\x21\xff\x0bXMP DataXMP" + PACKET + b"\x01" + bytes(range(255, -1, -1)) + b"\x00"
