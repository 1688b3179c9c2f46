import { test, expect, http, ko, run } from 'lockstep:test';

const URL = 'https://news.example/rss';
const items = (count) => Array.from({ length: count }, (_, n) => `<item><title>Title ${n + 1}</title></item>`).join('');
const rss = (count) => `<?xml version="1.0"?><rss version="2.0"><channel><title>News</title>${items(count)}</channel></rss>`;

test('the newest titles are kept', async () => {
  http.on(URL).reply(200, rss(12));
  expect(await run('feed', 'main', { url: URL })).toEqual({ stored: 10 });
  const feed = await ko.get('feed');
  expect(feed).toEqual({ title: 'News', titles: Array.from({ length: 10 }, (_, n) => `Title ${n + 1}`), at: expect.any(Number) });
  expect(Date.now() - feed.at).toBeLessThan(5_000);
});

test('a feed that is not there is an error that says so', async () => {
  http.on(URL).reply(503, 'busy');
  await expect(run('feed', 'main', { url: URL })).rejects.toThrow(`${URL} answered 503`);
  expect(await ko.get('feed')).toBeFalsy();
});

test('without an address it says how to give one', async () => {
  await expect(run('feed', 'main', {})).rejects.toThrow('no feed: give data.url, or set FEED_URL');
});
