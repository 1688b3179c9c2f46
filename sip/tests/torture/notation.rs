//! Reads the data files of this directory: messages between `===` lines, with a few abbreviations for what text cannot show.

/// One message of a collection.
pub(crate) struct Sample {
    pub(crate) section: &'static str,
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// All messages of a data file.
pub(crate) fn load(text: &'static str) -> Vec<Sample> {
    let (_comment, samples) = text.split_once("\n=== ").expect("a first message");
    samples
        .split("\n=== ")
        .map(|sample| {
            let (title, message) = sample.split_once('\n').expect("a title line");
            let (section, name) = title.split_once(' ').expect("section and name");
            Sample { section, name, bytes: octets(message) }
        })
        .collect()
}

/// One message by name.
pub(crate) fn find<'a>(samples: &'a [Sample], name: &str) -> &'a [u8] {
    &samples.iter().find(|sample| sample.name == name).unwrap_or_else(|| panic!("no message {name}")).bytes
}

fn octets(message: &str) -> Vec<u8> {
    let message = message.strip_suffix('\n').unwrap_or(message);
    let has_body = message.contains("\n\n");
    let lines = if has_body { format!("{message}\n") } else { format!("{message}\n\n") };
    let mut out = Vec::new();
    let mut rest = lines.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        push_text(&mut out, before);
        let (macro_text, tail) = after.split_once('}').unwrap_or((after, ""));
        match expand(macro_text) {
            Some(bytes) => {
                out.extend(bytes);
                rest = tail;
            }
            // A brace that only is one.
            None => {
                out.push(b'{');
                rest = after;
            }
        }
    }
    push_text(&mut out, rest);
    out
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.replace('\n', "\r\n").into_bytes());
}

fn expand(macro_text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = macro_text.strip_prefix("hex ") {
        let digits: String = digits.split_whitespace().collect();
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ascii"));
        return Some(pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal digits")).collect());
    }
    if let Some(address) = macro_text.strip_prefix("sdp ") {
        let sdp = format!(
            "v=0\r\no=mhandley 29739 7272939 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=audio 49217 RTP/AVP 0 12\r\nm=video 3227 RTP/AVP 31\r\na=rtpmap:31 LPC"
        );
        return Some(sdp.into_bytes());
    }
    let (count, text) = macro_text.split_once('*')?;
    Some(text.repeat(count.parse().ok()?).into_bytes())
}
