// Class 4: the next switch bills another account for some callers: its number goes along as a header, and what the caller claims does not.
//   [[customer]] vars = { accounts = { "4420" = 1201, "44" = 1200 } }
function main(data) {
  const accounts = data.accounts || {};
  const cli = data.routing.cli.replace(/^\+/, '');
  const prefix = Object.keys(accounts).filter((start) => cli.startsWith(start)).sort((a, b) => b.length - a.length)[0];
  data.remove_headers.push('X-Account');
  if (prefix) data.headers.push({ key: 'X-Account', value: accounts[prefix] });
  return data;
}
