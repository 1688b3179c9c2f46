//! File names as clients of event sockets write them, and what they are called in this engine.
//!
//! | written | played |
//! |---|---|
//! | `user/x.wav`, `ivr/x.wav`, `https://…`, `tone:…`, `silence:…` | as it stands |
//! | `tone_stream://%(on,off,hz[,hz…])[;…][;loops=N]` | `tone:hz+hz,on/off…`, N times |
//! | `silence_stream://MS` | `silence:MS` |
//! | `file_string://a!b`, `a!b` | one after the other |
//! | any other path | the file of that path below the account's audio: absolute paths begin there |

/// The most files of one string.
const MAX_FILES: usize = 64;
/// The most rounds of a tone that ends.
const MAX_LOOPS: u32 = 1_000;
/// The longest `silence:`; a stream without an end is as long.
const MAX_SILENCE_MS: u64 = 3_600_000;

/// What to play, and how often; 0: until stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Playable {
    pub(super) sources: Vec<String>,
    pub(super) repeat: u32,
}

/// Reads what a client wants played.
pub(super) fn playable(text: &str) -> Playable {
    let text = text.strip_prefix("file_string://").unwrap_or(text);
    if let Some(tone) = text.strip_prefix("tone_stream://")
        && let Some(playable) = tone_stream(tone)
    {
        return playable;
    }
    // A URL may hold a `!`; only paths are lists.
    let parts: Vec<&str> = if is_url(text) { vec![text] } else { text.split('!').take(MAX_FILES).collect() };
    Playable { sources: parts.into_iter().flat_map(sources_of).collect(), repeat: 1 }
}

fn sources_of(part: &str) -> Vec<String> {
    if let Some(tone) = part.strip_prefix("tone_stream://")
        && let Some(playable) = tone_stream(tone)
    {
        return playable.sources;
    }
    vec![source(part)]
}

fn source(part: &str) -> String {
    if let Some(length) = part.strip_prefix("silence_stream://") {
        // A comfort noise level may follow; there is none here.
        let length = length.split(',').next().unwrap_or_default();
        let length = match length.trim().parse::<i64>() {
            Ok(-1) => MAX_SILENCE_MS,
            Ok(ms) => u64::try_from(ms).unwrap_or(0).min(MAX_SILENCE_MS),
            Err(_) => return part.to_owned(),
        };
        return format!("silence:{length}");
    }
    if is_url(part) || ["tone:", "silence:", "user/", "ivr/"].iter().any(|own| part.starts_with(own)) {
        return part.to_owned();
    }
    format!("user/{}", part.trim_start_matches('/'))
}

fn is_url(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme))
}

/// `%(400,200,400,450);%(400,2000,400,450);loops=3`: tones in a row, all the frequencies of each together.
fn tone_stream(text: &str) -> Option<Playable> {
    let mut repeat = 1;
    let mut sources: Vec<String> = Vec::new();
    for part in text.split(';') {
        let part = part.trim();
        if let Some(loops) = part.strip_prefix("loops=") {
            repeat = match loops.parse::<i64>().ok()? {
                -1 => 0,
                loops => u32::try_from(loops).ok()?.clamp(1, MAX_LOOPS),
            };
        } else if let Some(tones) = part.strip_prefix('%').or_else(|| part.find("=%(").and_then(|at| part.get(at + 2..))) {
            for tone in tones.split('%') {
                sources.push(tone_of(tone)?);
            }
        } else if part.is_empty() || part.contains('=') {
            // Loudness and the like: tones have the level of exchanges here.
        } else {
            return None;
        }
    }
    (!sources.is_empty() && sources.len() <= MAX_FILES).then_some(Playable { sources, repeat })
}

fn tone_of(text: &str) -> Option<String> {
    let mut numbers = text.trim().strip_prefix('(')?.strip_suffix(')')?.split(',').map(str::trim);
    let (on, off): (u32, u32) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    let frequencies: Vec<u32> = numbers.map(|hz| hz.parse::<f64>().ok().map(|hz| hz.round() as u32)).collect::<Option<_>>()?;
    let frequencies: Vec<String> = frequencies.iter().map(u32::to_string).collect();
    (!frequencies.is_empty()).then(|| format!("tone:{},{on}/{off}", frequencies.join("+")))
}

/// The name of a recording, below the account's recordings.
pub(super) fn recording(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> Vec<String> {
        playable(text).sources
    }

    #[test]
    fn names_are_translated() {
        for (written, played) in [
            ("ivr/welcome.wav", "ivr/welcome.wav"),
            ("welcome.wav", "user/welcome.wav"),
            ("/usr/share/sounds/a.wav", "user/usr/share/sounds/a.wav"),
            ("https://h/a!b.wav", "https://h/a!b.wav"),
            ("silence_stream://500,1400", "silence:500"),
            ("tone_stream://%(400,0,440)", "tone:440,400/0"),
            ("tone_stream://v=-7;%(2000,4000,440.0,480.0)", "tone:440+480,2000/4000"),
        ] {
            assert_eq!(sources(written), [played], "{written}");
        }
    }

    #[test]
    fn lists_are_played_one_after_the_other_and_loops_are_counted() {
        assert_eq!(sources("file_string://a.wav!ivr/b.wav"), ["user/a.wav", "ivr/b.wav"]);
        let ring = playable("tone_stream://%(400,200,400,450);%(400,2000,400,450);loops=3");
        assert_eq!((ring.sources.len(), ring.repeat), (2, 3));
        assert_eq!(playable("tone_stream://%(100,0,440);loops=-1").repeat, 0);
    }

    #[test]
    fn what_is_no_tone_is_left_to_be_refused_by_its_name() {
        assert_eq!(sources("tone_stream://path=/tones.ttml"), ["user/tone_stream://path=/tones.ttml"]);
        assert_eq!(sources("../etc/passwd"), ["user/../etc/passwd"]);
    }
}
