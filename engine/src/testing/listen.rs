//! Finding a clip in what was heard: octet for octet where nothing was lost, over gaps where something was, and by
//! correlation where the audio was coded anew or played at another level.

use lockstep_media::codec::{Codec, g711};
use memchr::memmem;

use crate::simulation::Hearing;

/// Octets of an anchor: enough that it is found by chance nowhere else.
const ANCHOR: usize = 32;
/// Anchors of a clip; one of them survives most losses.
const ANCHORS: usize = 12;
/// Different octets that make an anchor worth looking for: silence and pure tones are everywhere.
const VARIETY: usize = 6;
/// The largest share of a clip that may have been lost.
const MAX_LOST: f64 = 0.5;
/// Samples that are compared when audio was coded anew.
const PROBE: usize = 800;
/// The first look at a place takes every so many samples,
const STRIDE: usize = 8;
/// without so many of their bits: the products of all then fit 32 bits together.
const COARSE: u32 = 3;
/// Correlation at which a place is looked at, and at which the whole clip counts as heard.
const LIKELY: f64 = 0.85;
const SAME: f64 = 0.9;

/// A clip that was heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    /// Where it began and ended, in octets of the hearing.
    pub start: usize,
    pub end: usize,
    pub how: Likeness,
}

/// How what was heard compares with the clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Likeness {
    /// Octet for octet.
    Exact,
    /// Octet for octet where it arrived; this share did not.
    Lossy(f64),
    /// The same sound in other octets, with this correlation.
    Similar(f64),
}

/// A clip as one codec has it.
#[derive(Debug)]
struct Form {
    octets: Vec<u8>,
    anchors: Vec<Anchor>,
}

/// A part of a clip that finds it.
#[derive(Debug)]
struct Anchor {
    /// Where it stands in the clip.
    at: usize,
    finder: memmem::Finder<'static>,
}

/// A place where the clip may have begun.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    start: usize,
    form: usize,
    /// Octets that were compared already.
    checked: usize,
}

/// Places looked at together: a tone could begin anywhere within itself.
const MAX_CANDIDATES: usize = 64;

/// Listens for one clip.
#[derive(Debug)]
pub(crate) struct Listener {
    forms: Vec<Form>,
    samples: Vec<i16>,
    /// Where the clip is loudest; `None` when it is too short to be compared as sound.
    probe_at: Option<usize>,
    /// Octets that must have been heard; the clip's whole length unless less was asked for.
    needed: usize,
    /// Only what was heard from here on counts.
    from: usize,
    /// How far anchors have been looked for.
    scanned: usize,
    /// How far the slower comparison has gone.
    correlated: usize,
    candidates: Vec<Candidate>,
    /// The longest part from the clip's beginning that was heard, in octets, and where.
    partial: Option<(usize, usize)>,
}

impl Listener {
    /// Listens in a hearing of `codec` for a clip given in `codec`, from octet `from` on. `at_least`: this many octets of it are
    /// enough.
    pub(crate) fn new(codec: Codec, clip: &[u8], from: usize, at_least: Option<usize>) -> Self {
        // What another leg's codec made of the clip before a bridge translated it.
        let other = match codec {
            Codec::Pcmu => (&g711::ULAW_TO_ALAW, &g711::ALAW_TO_ULAW),
            Codec::Pcma => (&g711::ALAW_TO_ULAW, &g711::ULAW_TO_ALAW),
        };
        let mut samples = Vec::with_capacity(clip.len());
        codec.decode(clip, &mut samples);
        let detour: Vec<u8> = clip.iter().map(|octet| other.1[usize::from(other.0[usize::from(*octet)])]).collect();
        let other_codec = match codec {
            Codec::Pcmu => Codec::Pcma,
            Codec::Pcma => Codec::Pcmu,
        };
        let recoded: Vec<u8> = samples.iter().map(|sample| other.1[usize::from(other_codec.encode_sample(*sample))]).collect();
        let mut forms = vec![Form::new(clip.to_vec())];
        for octets in [detour, recoded] {
            if forms.iter().all(|form| form.octets != octets) {
                forms.push(Form::new(octets));
            }
        }
        let needed = at_least.unwrap_or(clip.len()).clamp(1, clip.len().max(1));
        let probe_at = loudest(&samples, PROBE);
        Self { forms, samples, probe_at, needed, from, scanned: from, correlated: from, candidates: Vec::new(), partial: None }
    }

    /// Whether the clip has anything that could be told from silence or a hum.
    pub(crate) fn is_audible(&self) -> bool {
        self.forms.iter().any(|form| !form.anchors.is_empty())
    }

    /// Seconds of the clip's beginning that were heard at best.
    pub(crate) fn heard_at_best(&self) -> Option<(f64, f64)> {
        self.partial.map(|(length, start)| (length as f64 / 8_000.0, start as f64 / 8_000.0))
    }

    /// Looks at what has been heard since the last look.
    pub(crate) fn look(&mut self, hearing: &Hearing) -> Option<Found> {
        let octets = hearing.octets();
        self.gather(octets);
        let mut found = None;
        let mut left = Vec::new();
        for mut candidate in std::mem::take(&mut self.candidates) {
            match self.verify(hearing, &mut candidate) {
                Verdict::Found(likeness) => {
                    let (start, end) = (candidate.start, candidate.start + self.needed);
                    found = found.or(Some(Found { start, end, how: likeness }));
                }
                Verdict::NotYet => left.push(candidate),
                Verdict::No => {}
            }
        }
        self.candidates = left;
        found.or_else(|| self.correlate(hearing))
    }

    /// Looks for anchors in what is new.
    fn gather(&mut self, octets: &[u8]) {
        let Some(last) = octets.len().checked_sub(ANCHOR) else { return };
        let scan_from = self.scanned;
        if last < scan_from {
            return;
        }
        let fresh = octets.get(scan_from..).unwrap_or_default();
        for (index, form) in self.forms.iter().enumerate() {
            for anchor in &form.anchors {
                for place in find_all(fresh, &anchor.finder) {
                    let start = (scan_from + place).checked_sub(anchor.at).filter(|start| *start >= self.from);
                    let is_new =
                        |start: &usize| !self.candidates.iter().any(|known| known.start == *start && known.form == index);
                    if let Some(start) = start.filter(is_new)
                        && self.candidates.len() < MAX_CANDIDATES
                    {
                        self.candidates.push(Candidate { start, form: index, checked: 0 });
                    }
                }
            }
        }
        self.scanned = last + 1;
    }

    fn verify(&mut self, hearing: &Hearing, candidate: &mut Candidate) -> Verdict {
        let start = candidate.start;
        let Some(form) = self.forms.get(candidate.form) else { return Verdict::No };
        let end = (start + self.needed).min(hearing.len());
        let is_whole = end == start + self.needed;
        // What came late lies before what was compared already: the whole is compared once more at the end.
        let skip = if is_whole { 0 } else { candidate.checked };
        let Some(heard) = hearing.octets().get(start + skip..end) else { return Verdict::NotYet };
        let wanted = form.octets.get(skip..).unwrap_or_default();
        let differs =
            |(place, (heard, wanted)): (usize, (&u8, &u8))| (heard != wanted && hearing.is_known(start + place)).then_some(place);
        if let Some(length) = (skip..).zip(heard.iter().zip(wanted)).find_map(differs) {
            if self.partial.is_none_or(|(best, _)| best < length) {
                self.partial = Some((length, start));
            }
            return Verdict::No;
        }
        if !is_whole {
            candidate.checked = end - start;
            return Verdict::NotYet;
        }
        let lost = hearing.missing(start..end) as f64 / self.needed as f64;
        if lost > MAX_LOST {
            Verdict::No
        } else if lost > 0.0 {
            Verdict::Found(Likeness::Lossy(lost))
        } else {
            Verdict::Found(Likeness::Exact)
        }
    }

    /// Compares as sound what the anchors did not find: a second at a time, and only where something sounds.
    fn correlate(&mut self, hearing: &Hearing) -> Option<Found> {
        let codec = hearing.codec()?;
        let probe_at = self.probe_at?;
        // The whole of the clip must have come before it can be compared.
        let stop = hearing.len().checked_sub(self.needed.max(probe_at + PROBE))?;
        if stop < self.correlated + 8_000 && stop < self.correlated + self.needed / 2 {
            return None;
        }
        let from = self.correlated;
        self.correlated = stop;
        let probe = self.samples.get(probe_at..probe_at + PROBE)?;
        let mut samples = Vec::new();
        codec.decode(hearing.octets().get(from..)?, &mut samples);
        let places = stop - from + 1;
        let probed = samples.get(probe_at..probe_at + places + PROBE - 1)?;
        for offset in likely_places(probed, probe) {
            if correlation(probed.get(offset..offset + PROBE)?, probe) <= LIKELY {
                continue;
            }
            let length = self.needed.min(self.samples.len());
            let (heard, wanted) = (samples.get(offset..offset + length)?, self.samples.get(..length)?);
            let likeness = correlation(heard, wanted);
            if likeness >= SAME {
                let start = from + offset;
                return Some(Found { start, end: start + self.needed, how: Likeness::Similar(likeness) });
            }
        }
        None
    }
}

/// Where in `samples` the probe may begin, by a first look at a few of its samples: most sounds are quite different.
fn likely_places(samples: &[i16], probe: &[i16]) -> Vec<usize> {
    let few = |samples: &[i16]| -> Vec<i16> { samples.iter().step_by(STRIDE).map(|sample| sample >> COARSE).collect() };
    let wanted = few(probe);
    let wanted_energy = f64::from(dot(&wanted, &wanted));
    let mut places = Vec::new();
    for first in 0..STRIDE {
        let heard = few(samples.get(first..).unwrap_or_default());
        let mut energy = 0;
        let square = |sample: Option<&i16>| sample.map_or(0, |sample| i32::from(*sample) * i32::from(*sample));
        for (end, newest) in (1..).zip(&heard) {
            energy += square(Some(newest));
            let Some(start) = usize::checked_sub(end, wanted.len()) else { continue };
            let window = heard.get(start..end).unwrap_or_default();
            let offset = first + start * STRIDE;
            if f64::from(dot(window, &wanted)) > LIKELY * (f64::from(energy) * wanted_energy).sqrt()
                && offset + probe.len() <= samples.len()
            {
                places.push(offset);
            }
            energy -= square(window.first());
        }
    }
    places.sort_unstable();
    places
}

fn dot(a: &[i16], b: &[i16]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

/// Where `wanted` stands in `octets`, places that overlap included.
fn find_all<'a>(octets: &'a [u8], wanted: &'a memmem::Finder<'_>) -> impl Iterator<Item = usize> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let place = from + wanted.find(octets.get(from..)?)?;
        from = place + 1;
        Some(place)
    })
}

enum Verdict {
    Found(Likeness),
    NotYet,
    No,
}

impl Form {
    fn new(octets: Vec<u8>) -> Self {
        let step = (octets.len() / ANCHORS).max(1);
        let mut anchors = Vec::new();
        let mut next = 0;
        for (at, window) in octets.windows(ANCHOR).enumerate() {
            if at >= next && is_telling(window) {
                anchors.push(Anchor { at, finder: memmem::Finder::new(window).into_owned() });
                next = at + step.max(ANCHOR);
            }
        }
        Self { octets, anchors }
    }
}

fn is_telling(window: &[u8]) -> bool {
    let mut seen = [0_u64; 4];
    for octet in window {
        if let Some(word) = seen.get_mut(usize::from(octet >> 6)) {
            *word |= 1 << (octet & 63);
        }
    }
    seen.iter().map(|word| word.count_ones() as usize).sum::<usize>() >= VARIETY
}

/// Where `length` samples have the most energy.
fn loudest(samples: &[i16], length: usize) -> Option<usize> {
    let last = samples.len().checked_sub(length)?;
    let energy = |at: &usize| -> i64 {
        let window = samples.get(*at..*at + length).unwrap_or_default();
        window.iter().map(|sample| i64::from(*sample) * i64::from(*sample)).sum()
    };
    (0..=last).step_by(length / 2).max_by_key(energy)
}

fn correlation(a: &[i16], b: &[i16]) -> f64 {
    let (mut ab, mut aa, mut bb) = (0_i64, 0_i64, 0_i64);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (i64::from(*a), i64::from(*b));
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    if aa == 0 || bb == 0 { 0.0 } else { ab as f64 / ((aa as f64) * (bb as f64)).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::speech;

    const PACKET: usize = 160;

    /// What is heard when `octets` come in packets, of which some are lost.
    fn hearing(codec: Codec, octets: &[u8], is_lost: impl Fn(usize) -> bool) -> Hearing {
        let mut hearing = Hearing::default();
        for (number, payload) in octets.chunks(PACKET).enumerate() {
            if !is_lost(number) {
                hearing.place_at(codec, (number * PACKET) as u32, payload);
            }
        }
        hearing
    }

    fn with_silence(codec: Codec, before: usize, clip: &[u8], after: usize) -> Vec<u8> {
        let mut octets = vec![codec.silence(); before];
        octets.extend_from_slice(clip);
        octets.extend(std::iter::repeat_n(codec.silence(), after));
        octets
    }

    #[test]
    fn a_clip_is_found_octet_for_octet_where_it_was_played() {
        let clip = speech("hello there", Codec::Pcmu);
        let heard = hearing(Codec::Pcmu, &with_silence(Codec::Pcmu, 1_000, clip.octets(), 500), |_| false);
        let mut listener = Listener::new(Codec::Pcmu, clip.octets(), 0, None);
        let end = 1_000 + clip.octets().len();
        assert_eq!(listener.look(&heard), Some(Found { start: 1_000, end, how: Likeness::Exact }));
    }

    #[test]
    fn one_wrong_octet_is_another_clip() {
        let clip = speech("hello there", Codec::Pcmu);
        let mut octets = with_silence(Codec::Pcmu, 0, clip.octets(), 9_000);
        let last = clip.octets().len() - 1;
        octets[last] ^= 0x55;
        let mut listener = Listener::new(Codec::Pcmu, clip.octets(), 0, None);
        let found = listener.look(&hearing(Codec::Pcmu, &octets, |_| false));
        assert!(!matches!(found, Some(Found { how: Likeness::Exact | Likeness::Lossy(_), .. })), "{found:?}");
        assert_eq!(listener.heard_at_best(), Some((last as f64 / 8_000.0, 0.0)));
    }

    #[test]
    fn lost_packets_leave_gaps_and_the_clip_is_still_heard() {
        let clip = speech("a longer text that is said slowly", Codec::Pcma);
        let heard = hearing(Codec::Pcma, &with_silence(Codec::Pcma, 800, clip.octets(), 0), |number| number % 7 == 3);
        let found = Listener::new(Codec::Pcma, clip.octets(), 0, None).look(&heard).expect("it was played");
        assert!(matches!(found.how, Likeness::Lossy(share) if (0.1..0.2).contains(&share)), "{found:?}");
    }

    #[test]
    fn a_bridge_that_translates_leaves_a_clip_recognisable() {
        let clip = speech("across the bridge", Codec::Pcma);
        let translated: Vec<u8> = clip.octets().iter().map(|octet| g711::ALAW_TO_ULAW[usize::from(*octet)]).collect();
        let expected = speech("across the bridge", Codec::Pcmu);
        let heard = hearing(Codec::Pcmu, &with_silence(Codec::Pcmu, 320, &translated, 9_000), |_| false);
        let found = Listener::new(Codec::Pcmu, expected.octets(), 0, None).look(&heard).expect("it was played");
        assert_eq!(found.start, 320);
    }

    #[test]
    fn a_clip_at_half_its_level_is_similar() {
        let clip = speech("quietly now", Codec::Pcmu);
        let mut samples = Vec::new();
        Codec::Pcmu.decode(clip.octets(), &mut samples);
        let quieter: Vec<u8> = samples.iter().map(|sample| Codec::Pcmu.encode_sample(sample / 2)).collect();
        let heard = hearing(Codec::Pcmu, &with_silence(Codec::Pcmu, 480, &quieter, 9_000), |_| false);
        let found = Listener::new(Codec::Pcmu, clip.octets(), 0, None).look(&heard).expect("it was played");
        assert!(matches!(found, Found { start: 480, how: Likeness::Similar(_), .. }), "{found:?}");
    }

    #[test]
    fn another_clip_is_not_heard_and_silence_cannot_be() {
        let (clip, other) = (speech("one thing", Codec::Pcmu), speech("another", Codec::Pcmu));
        let heard = hearing(Codec::Pcmu, &with_silence(Codec::Pcmu, 480, other.octets(), 16_000), |_| false);
        assert_eq!(Listener::new(Codec::Pcmu, clip.octets(), 0, None).look(&heard), None);
        assert!(!Listener::new(Codec::Pcmu, &[Codec::Pcmu.silence(); 8_000], 0, None).is_audible());
    }
}
