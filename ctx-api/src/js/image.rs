//! Runtimes that are copied instead of booted.
//!
//! QuickJS takes longer to build its built-ins than most calls take to run, and longer again to take them down. They are the same for
//! every run. So a runtime is booted once, in memory of one piece; its bytes are the *image*. Another run gets a copy: what points into the
//! image is moved by the distance between the two, and the runtime is where it was when the image was taken.
//!
//! ```text
//!   image of a fresh runtime:   JSRuntime, atoms, classes
//!   image of a booted one:      JSRuntime, atoms, classes, built-ins, the prelude's core │ what runs add lies beside
//! ```
//!
//! A *shell* is a place for such copies, with the runtime that rquickjs knows of in it: its allocator and what it keeps. At the end of
//! a run the objects are not freed one by one: what they hold outside is, from a list, and the next image is laid over them.
//!
//! Which words are addresses shows in that they point into the memory that the image was taken from, in two images. What else looks like
//! one is left over from what a block held before, with a small field over its lower half: regions lie so that moving it leaves
//! that field as it is. Which words of a fresh runtime are a shell's own (the addresses of its allocator and of what rquickjs keeps)
//! shows by comparing two.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::rc::Rc;

use rquickjs::{Context, Ctx, FromJs, Object, Runtime, Value, qjs};

use super::boot::{self, Intrinsics, Prepared};
use super::heap::{Heap, HeapAllocator, Lengths, Region};
use super::hosted::{Classes, Owned};
use super::memory::Meter;
use super::modules::ModuleLoader;
use super::prelude::Prelude;
use super::rest::Changes;

/// Bytes: what an image is booted in, several times its size.
const WORKSHOP: usize = 2 << 20;
/// Shells that wait for a run, in each thread, some 200 KiB each: where runs end and begin by the hundred, as they do after a
/// moment without a processor, new ones would cost more than the runs.
const MAX_IDLE: usize = 256;
/// How many of them stay when nobody needs them.
const KEPT_IDLE: usize = 64;
/// Shells that are given up at once: each takes as long as a short turn.
const GIVEN_UP: usize = 4;
/// Words of a shell's own that are plausible: its allocator, what rquickjs keeps, and the stack it was made on.
const MAX_OWN: usize = 8;
/// A region rests when at most one in so many of its words has changed.
const WORTH_RESTING: usize = 2;
/// Parts of the prelude that most runs use.
const PRELOADED: [&str; 2] = ["ops", "ctx"];
/// Those that many load in their course: an image has room for them in its arenas.
const EXPECTED: [&str; 2] = ["call", "timers"];

const WORD: usize = size_of::<usize>();
const PAGE_WORDS: usize = 512;

/// Bytes of a region, and which of them are addresses within it.
struct Image {
    words: Vec<usize>,
    /// Where it was taken.
    base: usize,
    /// Indices of the words that point into it.
    addresses: Vec<u32>,
}

impl Image {
    /// Copies what `heap` has in its region.
    fn take(heap: &Heap) -> Option<Self> {
        let region = heap.region()?;
        region.settle();
        let base = region.base().addr();
        let within = base..base + region.capacity();
        // SAFETY: the region has as many bytes, and began as zeros.
        let words = unsafe { std::slice::from_raw_parts(region.base().cast::<usize>(), region.used() / WORD) }.to_vec();
        let addresses = words.iter().zip(0..).filter(|(word, _)| within.contains(*word)).map(|(_, at)| at).collect();
        Some(Self { words, base, addresses })
    }

    /// The same with those words only for addresses that are none in another image of the same by chance: what a block held before may
    /// be left between the fields of what it holds now. (QuickJS sorts some things by address, so that one image may have nothing where
    /// another has an address.)
    fn agreed(mut self, other: &Self) -> Option<Self> {
        let within = other.base..other.base + other.bytes();
        let words = (self.words.len() == other.words.len()).then_some(&other.words)?;
        self.addresses.retain(|at| words.get(*at as usize).is_some_and(|word| *word == 0 || within.contains(word)));
        Some(self)
    }

    fn bytes(&self) -> usize {
        self.words.len() * WORD
    }

    /// Shows a copy that lies at `base` page by page: the index of its first word, and its words. Until `seen` says no.
    fn pages(&self, base: usize, mut seen: impl FnMut(usize, &[usize]) -> bool) {
        let moved = base.wrapping_sub(self.base);
        let mut addresses = self.addresses.iter().map(|at| *at as usize).peekable();
        let mut page = [0; PAGE_WORDS];
        for (words, begin) in self.words.chunks(PAGE_WORDS).zip((0..).step_by(PAGE_WORDS)) {
            let page = page.get_mut(..words.len()).unwrap_or_default();
            page.copy_from_slice(words);
            while let Some(at) = addresses.next_if(|at| *at < begin + words.len()) {
                if let Some(word) = page.get_mut(at - begin) {
                    *word = word.wrapping_add(moved);
                }
            }
            if !seen(begin, page) {
                return;
            }
        }
    }

    /// What is otherwise in a copy whose words are `now`; `None` for more than `most` of them.
    fn changes(&self, now: &[usize], most: usize) -> Option<Changes> {
        let mut changes = Changes::default();
        self.pages(now.as_ptr().addr(), |begin, page| {
            changes.note(begin, page, now.get(begin..).unwrap_or_default());
            changes.words() <= most
        });
        changes.shrink();
        (changes.words() <= most).then_some(changes)
    }

    /// Lays a copy over the beginning of a region.
    ///
    /// # Safety
    /// The region holds as many bytes, and nobody uses what is in it.
    unsafe fn lay(&self, region: *mut u8) {
        let moved = region.addr().wrapping_sub(self.base);
        // SAFETY: as promised; the indices are those of words.
        unsafe {
            let words = region.cast::<usize>();
            words.copy_from_nonoverlapping(self.words.as_ptr(), self.words.len());
            for at in &self.addresses {
                let word = words.add(*at as usize);
                *word = (*word).wrapping_add(moved);
            }
        }
    }

    /// The words in which two images of the same differ by more than where they were taken.
    fn differences(&self, other: &Self) -> Option<Vec<u32>> {
        if self.words.len() != other.words.len() {
            return None;
        }
        let mut differing = Vec::new();
        self.pages(other.base, |begin, page| {
            let pairs = page.iter().zip(other.words.get(begin..).unwrap_or_default()).zip(begin as u32..);
            differing.extend(pairs.filter(|((expected, theirs), _)| expected != theirs).map(|(_, at)| at));
            true
        });
        Some(differing)
    }
}

/// Where in the image something lies, bytes.
#[derive(Clone, Copy)]
struct Place(usize);

impl Place {
    fn of(heap: &Heap, pointer: *const u8) -> Option<Self> {
        let region = heap.region()?;
        let place = pointer.addr().checked_sub(region.base().addr())?;
        (place < region.used()).then_some(Self(place))
    }
}

/// What copies are made from.
struct Template {
    fresh: Image,
    booted: Image,
    /// Words of a fresh runtime that are a shell's own.
    own: Vec<u32>,
    lengths: Lengths,
    runtime: Place,
    context: Place,
    classes: Classes,
    globals: Place,
    host: Place,
    dispatch: Place,
}

impl Template {
    /// How long the arenas of a booted runtime have to be.
    fn lengths(prelude: &Prelude) -> Option<Lengths> {
        let raw = ManuallyDrop::new(Raw::new(WORKSHOP, &Lengths::default())?);
        let fresh = Image::take(&raw.heap)?;
        raw.boot(prelude, &EXPECTED)?;
        let lengths = raw.heap.region()?.lengths();
        let raw = ManuallyDrop::into_inner(raw);
        // SAFETY: the context that was in the region is forgotten.
        unsafe { raw.lay(&fresh, &[], &[]) };
        Some(lengths)
    }

    /// Boots a runtime and takes its images; `None` where something is not as it is expected here, so that runtimes are booted.
    fn build(prelude: &Prelude) -> Option<Self> {
        // QuickJS takes down no runtime that still has objects: where something is amiss, both stay.
        let lengths = Self::lengths(prelude)?;
        let [shell, other] = [Raw::new(WORKSHOP, &lengths)?, deeper(&lengths)?].map(ManuallyDrop::new);
        let (fresh, twin) = (Image::take(&shell.heap)?, Image::take(&other.heap)?);
        let own = fresh.differences(&twin).filter(|own| own.len() <= MAX_OWN)?;
        let booted = shell.boot(prelude, &[])?;
        let twin = other.boot(prelude, &[])?;
        // Nothing else may have come to lie there.
        let stays = |at: &u32| fresh.words.get(*at as usize) == booted.booted.words.get(*at as usize);
        if !own.iter().all(stays) {
            return None;
        }
        let image = booted.booted.agreed(&twin.booted)?;
        let template = Self { fresh, own, booted: image, lengths, ..booted };
        for raw in [shell, other].map(ManuallyDrop::into_inner) {
            // SAFETY: the context that was in the region is forgotten.
            unsafe { template.freshen(&raw, &raw.own(&template.own)) };
        }
        Some(template)
    }

    /// Makes a runtime fresh again, so that it can be freed.
    ///
    /// # Safety
    /// No context, object or value of the runtime is used again.
    unsafe fn freshen(&self, raw: &Raw, own: &[usize]) {
        // SAFETY: as promised.
        unsafe { raw.lay(&self.fresh, &self.own, own) };
    }
}

/// A runtime that rquickjs made in a region.
struct Raw {
    runtime: Runtime,
    heap: Rc<Heap>,
}

impl Raw {
    fn new(capacity: usize, lengths: &Lengths) -> Option<Self> {
        let heap = Heap::with_region(Meter::new(u64::MAX), capacity, lengths)?;
        let runtime = Runtime::new_with_alloc(HeapAllocator(Rc::clone(&heap))).ok()?;
        Some(Self { runtime, heap })
    }

    /// The values of a shell's own words.
    fn own(&self, places: &[u32]) -> Vec<usize> {
        let Some(region) = self.heap.region() else { return Vec::new() };
        // SAFETY: the places are within a fresh runtime, which lies at the beginning of each region.
        places.iter().map(|at| unsafe { region.base().cast::<usize>().add(*at as usize).read() }).collect()
    }

    /// Lays an image over the region, but for the shell's own words.
    ///
    /// # Safety
    /// The region holds the image, and nobody uses what is in it.
    unsafe fn lay(&self, image: &Image, places: &[u32], own: &[usize]) {
        let Some(region) = self.heap.region() else { return };
        // SAFETY: as promised; the places are within every image.
        unsafe {
            image.lay(region.base());
            for (at, word) in places.iter().zip(own) {
                region.base().cast::<usize>().add(*at as usize).write(*word);
            }
        }
    }

    /// Makes a context and the prelude's core in it, and takes the image. Then it reads parts that are `expected` to come. The context is
    /// left behind.
    fn boot(&self, prelude: &Prelude, expected: &[&str]) -> Option<Template> {
        let context = ManuallyDrop::new(Context::custom::<Intrinsics>(&self.runtime).ok()?);
        let heap = &self.heap;
        let template = context.with(|ctx| {
            let prepared = Prepared::new(&ctx, prelude).ok()?;
            for part in PRELOADED {
                let preload: rquickjs::Function<'_> = prepared.dispatch.get("preload").ok()?;
                preload.call::<_, ()>((part, prelude.part(&ctx, part).ok()?)).ok()?;
            }
            // SAFETY: a live context.
            let runtime = unsafe { qjs::JS_GetRuntime(ctx.as_raw().as_ptr()) };
            // SAFETY: objects are addresses.
            let place = |object: &Object<'_>| Place::of(heap, unsafe { qjs::JS_VALUE_GET_PTR(object.as_raw()) }.cast());
            let template = Template {
                fresh: Image { words: Vec::new(), base: 0, addresses: Vec::new() },
                booted: Image::take(heap)?,
                own: Vec::new(),
                lengths: Lengths::default(),
                runtime: Place::of(heap, runtime.cast())?,
                context: Place::of(heap, ctx.as_raw().as_ptr().cast())?,
                classes: prepared.classes,
                globals: place(&prepared.globals)?,
                host: place(&prepared.host)?,
                dispatch: place(&prepared.dispatch)?,
            };
            // The image counts these references: the copies' are taken from there.
            std::mem::forget(prepared);
            for part in expected {
                std::mem::forget(prelude.part(&ctx, part).ok()?);
            }
            Some(template)
        });
        forget(context);
        template
    }
}

/// A runtime made further down the stack: where that was is a shell's own, too.
#[inline(never)]
fn deeper(lengths: &Lengths) -> Option<Raw> {
    let depth = std::hint::black_box([0_usize; 64]);
    let raw = Raw::new(WORKSHOP, lengths);
    std::hint::black_box(depth);
    raw
}

/// Forgets a context without freeing it, but lets go of its runtime.
fn forget(context: ManuallyDrop<Context>) {
    // SAFETY: the handle is the context's own, which is not used or dropped any more.
    drop(unsafe { std::ptr::read(context.runtime()) });
}

/// A place for copies of the booted runtime.
struct Shell {
    raw: Raw,
    template: Rc<Template>,
    own: Vec<usize>,
}

impl Shell {
    fn new(template: &Rc<Template>) -> Option<Self> {
        let raw = Raw::new(template.booted.bytes(), &template.lengths)?;
        let fresh = Image::take(&raw.heap)?;
        raw.heap.region()?.close();
        // A runtime that begins otherwise than the image does not take it.
        let differing = template.fresh.differences(&fresh)?;
        if !differing.iter().all(|at| template.own.contains(at)) {
            return None;
        }
        Some(Self { own: raw.own(&template.own), raw, template: Rc::clone(template) })
    }

    fn at(&self, place: Place) -> *mut u8 {
        let base = self.raw.heap.region().map_or(std::ptr::null_mut(), Region::base);
        base.wrapping_add(place.0)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // SAFETY: what was laid into the region is given up already.
        unsafe { self.template.freshen(&self.raw, &self.own) };
    }
}

/// A runtime that is a copy.
pub(super) struct Copied {
    shell: Option<Shell>,
    context: ManuallyDrop<Context>,
    owned: Rc<Owned>,
    /// What is kept of the region while it rests: its pages are the kernel's then.
    resting: RefCell<Option<Changes>>,
}

impl Copied {
    /// A copy of this thread's image; `None` where runtimes have to be booted.
    pub(super) fn new(prelude: &Prelude, meter: &Rc<Meter>) -> Option<Self> {
        let shell = SHELLS.try_with(|shells| shells.borrow_mut().take(prelude)).ok()??;
        shell.raw.heap.count_for(Rc::clone(meter), shell.template.booted.bytes());
        // SAFETY: nobody uses what is in the region, and it holds the image.
        unsafe { shell.raw.lay(&shell.template.booted, &shell.template.own, &shell.own) };
        let context = NonNull::new(shell.at(shell.template.context).cast())?;
        // SAFETY: a runtime and a context of it, which lie there since the image was laid; the image counts one reference to the
        // context, which is this one.
        let context = unsafe {
            qjs::JS_UpdateStackTop(shell.at(shell.template.runtime).cast());
            Context::from_raw(context, shell.raw.runtime.clone())
        };
        shell.raw.runtime.set_loader(ModuleLoader, ModuleLoader);
        Some(Self { shell: Some(shell), context: ManuallyDrop::new(context), owned: Rc::default(), resting: RefCell::default() })
    }

    /// The context, awake.
    pub(super) fn context(&self) -> &Context {
        self.wake();
        &self.context
    }

    /// Keeps of the region only what the run has changed in it, and gives its pages back until it is next used; whether it does
    /// so, which it does not where much has changed. Values of the context are not to be touched, nor let go of, before
    /// [`wake`](Self::wake).
    pub(super) fn rest(&mut self) -> bool {
        let (Some(shell), None) = (&self.shell, self.resting.get_mut()) else { return false };
        let image = &shell.template.booted;
        let Some(region) = shell.raw.heap.region() else { return false };
        // SAFETY: the region holds the image, and no code of the runtime runs: whoever runs it has borrowed this.
        let now = unsafe { std::slice::from_raw_parts(region.base().cast::<usize>(), image.words.len()) };
        let Some(changes) = image.changes(now, image.words.len() / WORTH_RESTING) else { return false };
        // SAFETY: nobody looks at the region before `wake` has laid it again.
        let given = unsafe { region.release() };
        if given {
            *self.resting.get_mut() = Some(changes);
        }
        given
    }

    pub(super) fn is_resting(&self) -> bool {
        self.resting.borrow().is_some()
    }

    /// Puts the region back to what it was before it came to [`rest`](Self::rest).
    pub(super) fn wake(&self) {
        let Some(changes) = self.resting.take() else { return };
        let Some(shell) = &self.shell else { return };
        let Some(region) = shell.raw.heap.region() else { return };
        let image = &shell.template.booted;
        // SAFETY: the region holds the image, and has been nobody's since its pages were given back.
        unsafe {
            image.lay(region.base());
            changes.apply(std::slice::from_raw_parts_mut(region.base().cast(), image.words.len()));
        }
    }

    /// What the objects of the context hold.
    pub(super) fn owned(&self) -> &Rc<Owned> {
        &self.owned
    }

    /// The objects that were made before the image was taken.
    pub(super) fn prepared<'js>(&self, ctx: &Ctx<'js>) -> rquickjs::Result<Prepared<'js>> {
        let Some(shell) = &self.shell else { return Err(rquickjs::Error::Unknown) };
        let template = &shell.template;
        let object = |place| {
            let raw = qjs::JS_MKPTR(qjs::JS_TAG_OBJECT, shell.at(place).cast());
            // SAFETY: an object of the context, and the image counts a reference to it that nobody has taken.
            Object::from_js(ctx, unsafe { Value::from_raw(ctx.clone(), raw) })
        };
        let (globals, host) = (object(template.globals)?, object(template.host)?);
        Ok(Prepared { classes: template.classes, globals, host, dispatch: object(template.dispatch)? })
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.wake();
        let Some(shell) = self.shell.take() else { return };
        self.context.with(|ctx| boot::leave(&ctx));
        shell.raw.runtime.set_interrupt_handler(None);
        shell.raw.runtime.set_host_promise_rejection_tracker(None);
        // SAFETY: no code of the context runs any more; whoever held values of it has let go of them.
        unsafe {
            self.owned.free_all();
            shell.raw.heap.free_beside();
            forget(ManuallyDrop::new(ManuallyDrop::take(&mut self.context)));
        }
        shell.raw.heap.count_for(Meter::new(u64::MAX), 0);
        // While the thread ends there is nowhere to put it.
        let _ = SHELLS.try_with(|shells| shells.borrow_mut().give_back(shell));
    }
}

/// The image of a thread, and shells that wait.
#[derive(Default)]
struct Shells {
    /// Present once it has been tried.
    template: Option<Option<Rc<Template>>>,
    idle: Vec<Shell>,
}

thread_local! {
    static SHELLS: RefCell<Shells> = RefCell::default();
}

/// Gives some memory back that this thread's runs do not need; to be called now and then.
pub(super) fn tidy() {
    drop(SHELLS.try_with(|shells| shells.borrow_mut().spare()));
}

impl Shells {
    fn take(&mut self, prelude: &Prelude) -> Option<Shell> {
        let template = self.template.get_or_insert_with(|| Template::build(prelude).map(Rc::new)).as_ref()?;
        self.idle.pop().or_else(|| Shell::new(template))
    }

    /// Of many shells some of those that have waited longest.
    fn spare(&mut self) -> Vec<Shell> {
        let spare = self.idle.len().saturating_sub(KEPT_IDLE).min(GIVEN_UP);
        self.idle.drain(..spare).collect()
    }

    fn give_back(&mut self, shell: Shell) {
        if self.idle.len() < MAX_IDLE {
            self.idle.push(shell);
        }
    }
}
