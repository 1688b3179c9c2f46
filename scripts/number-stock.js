// @lockstep type=driver
// Numbers from a stock of our own: records of the Userspace area `stock`. Bind it with `[drivers] did = "number-stock"`.

const { create, list, read, update } = require('cxUserspace');

const AREA = 'stock';

module.exports = {
  // Puts numbers into the stock: POST /v1/drivers/number-stock/fill {"from": "442080000000", "count": 100}
  fill: async ({ from, count = 1 }) => {
    for (let n = 0; n < count; n += 1) await create(AREA, String(BigInt(from) + BigInt(n)), { state: 'free' });
    return { added: count };
  },

  search: async ({ number = '', limit = 100 }) => {
    const found = await list(AREA, { prefix: String(number), limit });
    return found.filter(({ data }) => data.state === 'free').map(({ key }) => ({ did: key }));
  },

  allocate: async ({ did }) => {
    const number = await read(AREA, did);
    if (number === null) throw '404 Not Found';
    if (number.state !== 'free') throw '486 Busy Here';
    await update(AREA, did, { ...number, state: 'allocated' });
    return { did, stock: 'own' };
  },

  release: async ({ did }) => (await update(AREA, did, { state: 'free' })) !== null,

  list: async () => {
    const all = await list(AREA, { limit: 1000 });
    return all.filter(({ data }) => data.state === 'allocated').map(({ key }) => ({ did: key }));
  },
};
