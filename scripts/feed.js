// A feed's newest titles, fetched as a job: POST /v1/jobs {"script": "feed", "data": {"url": "https://…"}, "attempts": 5}.
// With `schedule={ minutes = [0] }` in a header comment and FEED_URL in the app's variables it would run every hour.

const Parser = require('rss-parser');
const { ko } = require('cxKV');

async function main({ url = process.env.FEED_URL }) {
  if (!url) throw new Error('no feed: give data.url, or set FEED_URL');
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  const feed = await new Parser().parseString(await answer.text());
  const titles = feed.items.slice(0, 10).map(({ title }) => title);
  await ko.set('feed', { title: feed.title, titles, at: Date.now() });
  return { stored: titles.length };
}

module.exports = { main };
