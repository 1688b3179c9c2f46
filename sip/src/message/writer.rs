//! The strict form of messages on the wire.

use bytes::{BufMut, Bytes, BytesMut};

use super::{HeaderName, Headers, Message, Request, Response};

impl Request {
    /// The message as octets: CRLF line ends, no folding, Content-Length computed.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(512 + self.body.len());
        let start = format!("{} {} SIP/2.0", self.method, self.uri);
        // A URI put together from parts must not end the line early.
        out.put_slice(start.replace(['\r', '\n'], "").as_bytes());
        out.put_slice(b"\r\n");
        write_rest(&mut out, &self.headers, &self.body);
        out.freeze()
    }
}

impl Response {
    /// The message as octets: CRLF line ends, no folding, Content-Length computed.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(512 + self.body.len());
        out.put_slice(b"SIP/2.0 ");
        out.put_slice(self.status.to_string().as_bytes());
        out.put_u8(b' ');
        out.put_slice(self.reason.as_bytes());
        out.put_slice(b"\r\n");
        write_rest(&mut out, &self.headers, &self.body);
        out.freeze()
    }
}

impl Message {
    /// The message as octets.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Message::Request(request) => request.to_bytes(),
            Message::Response(response) => response.to_bytes(),
        }
    }

    #[must_use]
    pub fn headers(&self) -> &Headers {
        match self {
            Message::Request(request) => &request.headers,
            Message::Response(response) => &response.headers,
        }
    }
}

fn write_rest(out: &mut BytesMut, headers: &Headers, body: &[u8]) {
    for header in headers.iter() {
        if header.name == HeaderName::ContentLength {
            continue;
        }
        out.put_slice(header.name.as_bytes());
        out.put_slice(b": ");
        out.put_slice(header.value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"Content-Length: ");
    out.put_slice(body.len().to_string().as_bytes());
    out.put_slice(b"\r\n\r\n");
    out.put_slice(body);
}
