
// Packages of the allow-list and Node's modules: anything, until their types are installed. An exact name would hide those.
declare module 'axios*';
declare module 'card-validator*';
declare module 'csv-parse*';
declare module 'data-forge*';
declare module 'decompress-zip*';
declare module 'elasticemail-webapiclient*';
declare module 'fast-csv*';
declare module 'fast-toml*';
declare module 'ftp*';
declare module 'helpscout-2.0*';
declare module 'moment*';
declare module 'rss-parser*';
declare module 'soap*';
declare module 'stripe*';
declare module 'tough-cookie*';
declare module 'node:*';
declare module 'assert*';
declare module 'buffer*';
declare module 'crypto*';
declare module 'dns*';
declare module 'events*';
declare module 'fs*';
declare module 'http*';
declare module 'net*';
declare module 'os*';
declare module 'path*';
declare module 'punycode*';
declare module 'querystring*';
declare module 'stream*';
declare module 'string_decoder*';
declare module 'timers*';
declare module 'tls*';
declare module 'url*';
declare module 'util*';
declare module 'zlib*';

