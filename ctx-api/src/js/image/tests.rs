use super::*;

/// Pages of a copy's region that are in memory.
fn resident(copy: &Copied) -> usize {
    let region = copy.shell.as_ref().unwrap().raw.heap.region().unwrap();
    let mut pages = vec![0_u8; region.capacity() / 4096];
    // SAFETY: mapped, and as many octets as it has pages.
    let told = unsafe { libc::mincore(region.base().cast(), region.capacity(), pages.as_mut_ptr()) };
    assert_eq!(told, 0);
    pages.iter().filter(|page| **page & 1 == 1).count()
}

/// What is in its region.
fn bytes(copy: &Copied) -> Vec<u8> {
    let shell = copy.shell.as_ref().unwrap();
    let region = shell.raw.heap.region().unwrap();
    // SAFETY: no code of the runtime runs.
    unsafe { std::slice::from_raw_parts(region.base(), shell.template.booted.bytes()) }.to_vec()
}

fn image(base: usize, words: &[usize], addresses: &[u32]) -> Image {
    Image { words: words.to_vec(), base, addresses: addresses.to_vec() }
}

#[test]
fn a_copy_points_into_itself_and_keeps_what_is_no_address() {
    let region = Heap::with_region(Meter::new(u64::MAX), 64, &Lengths::default()).unwrap();
    let base = region.region().unwrap().base();
    let image = image(0x10_0000, &[7, 0x10_0008, 0x10_0010], &[1, 2]);
    // SAFETY: the region is larger, and nobody uses it.
    let laid = unsafe {
        image.lay(base);
        std::slice::from_raw_parts(base.cast::<usize>(), 3).to_vec()
    };
    assert_eq!(laid, [7, base.addr() + 8, base.addr() + 16]);
}

#[test]
fn words_are_a_shells_own_when_more_than_the_place_differs() {
    let ours = image(0x10_0000, &[7, 0x10_0008, 0xaaaa, 1], &[1]);
    assert_eq!(ours.differences(&image(0x50_0000, &[7, 0x50_0008, 0xbbbb, 1], &[1])), Some(vec![2]));
    assert_eq!(ours.differences(&image(0x50_0000, &[7, 0x50_0010, 0xaaaa, 2], &[1])), Some(vec![1, 3]));
    assert_eq!(ours.differences(&image(0x50_0000, &[7], &[])), None, "another order of things");
}

#[test]
fn where_more_differs_than_may_nothing_is_told() {
    let image = image(0x10_0000, &[7; 3 * PAGE_WORDS], &[]);
    let mut now = image.words.clone();
    now[3] = 8;
    now[2 * PAGE_WORDS + 1] = 9;
    assert_eq!(image.changes(&now, 2).map(|changes| changes.words()), Some(2));
    assert!(image.changes(&now, 1).is_none());
}

#[test]
fn what_is_an_address_by_chance_is_left_alone() {
    let ours = image(0x10_0000, &[0x10_0008, 0x10_0010, 0x10_0000], &[0, 1, 2]);
    let theirs = image(0x50_0000, &[0x50_0008, 0x1234_5678, 0], &[0]);
    assert_eq!(ours.agreed(&theirs).unwrap().addresses, [0, 2], "nothing may stand where another has an address");
}

#[test]
fn runtimes_of_this_quickjs_can_be_copied() {
    let (prelude, meter) = (Prelude::new().unwrap(), Meter::new(64 << 20));
    let [one, other] = [Copied::new(&prelude, &meter).unwrap(), Copied::new(&prelude, &meter).unwrap()];
    for copy in [&one, &other] {
        let sum: i32 = copy.context().with(|ctx| {
            ctx.globals().set("seen", 1).unwrap();
            ctx.json_parse("[40, 2]").unwrap().get::<Vec<i32>>().unwrap().iter().sum()
        });
        assert_eq!(sum, 42);
    }
    drop(one);
    let next = Copied::new(&prelude, &meter).unwrap();
    let seen: Option<i32> = next.context().with(|ctx| ctx.globals().get("seen").unwrap());
    assert_eq!(seen, None, "the place was cleaned");
}

#[test]
fn an_image_is_shorter_than_the_runtime_that_quickjs_makes() {
    let prelude = Prelude::new().unwrap();
    let raw = ManuallyDrop::new(Raw::new(WORKSHOP, &Lengths::default()).unwrap());
    let whole = raw.boot(&prelude, &[]).unwrap().booted.bytes();
    let short = Template::build(&prelude).unwrap().booted.bytes();
    assert!(short < whole - whole / 10, "{short} of {whole} bytes");
}

#[test]
fn shells_of_a_rush_are_given_up_little_by_little() {
    let (prelude, meter) = (Prelude::new().unwrap(), Meter::new(64 << 20));
    let rush: Option<Vec<_>> = (0..KEPT_IDLE + GIVEN_UP + 1).map(|_| Copied::new(&prelude, &meter)).collect();
    assert!(rush.is_some());
    drop(rush);
    let idle = || SHELLS.with(|shells| shells.borrow().idle.len());
    let counts = [(); 4].map(|()| {
        tidy();
        idle()
    });
    assert_eq!(counts, [KEPT_IDLE + 1, KEPT_IDLE, KEPT_IDLE, KEPT_IDLE]);
}

#[test]
fn a_copy_at_rest_is_in_no_memory_and_wakes_as_it_was() {
    let (prelude, meter) = (Prelude::new().unwrap(), Meter::new(64 << 20));
    let mut copy = Copied::new(&prelude, &meter).unwrap();
    for round in 0..3 {
        copy.context().with(|ctx| {
            let kept: Object<'_> = ctx.json_parse(r#"{"list": [1, {"deep": "text"}], "again": {}}"#).unwrap().get().unwrap();
            ctx.globals().set(format!("kept{round}"), kept).unwrap();
            ctx.run_gc();
        });
        let (before, pages) = (bytes(&copy), resident(&copy));
        assert!(copy.rest() && copy.is_resting(), "round {round}");
        assert!(!copy.rest(), "it rests already");
        assert_eq!(resident(&copy), 0, "of {pages} pages");
        copy.wake();
        assert!(!copy.is_resting() && resident(&copy) == pages && bytes(&copy) == before, "round {round}");
    }
    let kept: String = copy.context().with(|ctx| {
        let kept: Object<'_> = ctx.globals().get("kept0").unwrap();
        ctx.json_stringify(kept).unwrap().unwrap().to_string().unwrap()
    });
    assert_eq!(kept, r#"{"list":[1,{"deep":"text"}],"again":{}}"#);
}

#[test]
fn a_copy_that_ends_at_rest_leaves_its_place_to_the_next() {
    let (prelude, meter) = (Prelude::new().unwrap(), Meter::new(64 << 20));
    for _ in 0..3 {
        let mut copy = Copied::new(&prelude, &meter).unwrap();
        let (sum, seen): (i32, Option<i32>) = copy.context().with(|ctx| {
            let seen = ctx.globals().get("seen").unwrap();
            ctx.globals().set("seen", 1).unwrap();
            (ctx.json_parse("[40, 2]").unwrap().get::<Vec<i32>>().unwrap().iter().sum(), seen)
        });
        assert_eq!((sum, seen), (42, None));
        assert!(copy.rest());
    }
}
