//! Several ranges of a blob in one answer: the frame of `multipart/byteranges` (RFC 9110 §14.6, RFC 2046 §5.1).

use std::io;
use std::ops::Range;

use bytes::Bytes;

/// Random bytes in a boundary: no blob can be made to contain it.
const BOUNDARY_BYTES: usize = 16;

/// What stands between the parts of one answer.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    boundary: String,
    media_type: String,
    size_bytes: u64,
}

impl Frame {
    /// Begins an answer with parts of a blob of this type and length.
    pub(super) fn new(media_type: &str, size_bytes: u64) -> io::Result<Self> {
        let mut random = [0; BOUNDARY_BYTES];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        Ok(Self {
            boundary: hex::encode(random),
            media_type: media_type.to_owned(),
            size_bytes,
        })
    }

    /// The answer's media type.
    pub(super) fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// What comes before a part.
    pub(super) fn head(&self, part: &Range<u64>) -> Bytes {
        let (boundary, media_type) = (&self.boundary, &self.media_type);
        let range = content_range(part, self.size_bytes);
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range}\r\n\r\n"
        );
        head.into()
    }

    /// What comes after the last part.
    pub(super) fn tail(&self) -> Bytes {
        format!("\r\n--{}--\r\n", self.boundary).into()
    }

    /// Length of the whole answer in bytes.
    pub(super) fn length(&self, parts: &[Range<u64>]) -> u64 {
        let part = |part: &Range<u64>| self.head(part).len() as u64 + (part.end - part.start);
        parts.iter().map(part).sum::<u64>() + self.tail().len() as u64
    }
}

/// Value of a `Content-Range` header; the range is not empty.
pub(super) fn content_range(part: &Range<u64>, size_bytes: u64) -> String {
    format!("bytes {}-{}/{size_bytes}", part.start, part.end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_what_the_standard_shows_and_as_long_as_it_says() {
        let frame = Frame::new("text/plain", 80).unwrap();
        let parts = [0..10, 70..80];
        let body = [
            frame.head(&parts[0]),
            "0123456789".into(),
            frame.head(&parts[1]),
            "abcdefghij".into(),
            frame.tail(),
        ];
        let body: String = body
            .map(|part| String::from_utf8(part.into()).unwrap())
            .concat();
        assert_eq!(body.len() as u64, frame.length(&parts));
        let boundary = frame.content_type();
        let boundary = boundary
            .strip_prefix("multipart/byteranges; boundary=")
            .unwrap();
        assert_eq!(
            body.replace(boundary, "B"),
            "\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-9/80\r\n\r\n0123456789\
             \r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes 70-79/80\r\n\r\nabcdefghij\
             \r\n--B--\r\n"
        );
    }
}
