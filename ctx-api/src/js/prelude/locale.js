// Dates, numbers and the order of texts as people read them: what scripts use of the standard's (ECMA-402), with Node's results.
// What would come out wrong is refused.
(function (host, { part }) {
  const { offset, abbreviation, local } = host.natives('zone');
  const { compare: order } = host.natives('order');
  const { Date } = part('time');

  // What is first and last of a date, the clock, and the marks in numbers.
  const LOCALES = {
    __proto__: null,
    'en-us': { order: 'mdy', cycle: 'h12', otherCycle: 'h24', noon: ['AM', 'PM'], group: ',', point: '.' },
    'en-gb': { order: 'dmy', cycle: 'h23', otherCycle: 'h23', noon: ['am', 'pm'], group: ',', point: '.' },
    'en-ca': { order: 'ymd', cycle: 'h12', otherCycle: 'h24', noon: ['a.m.', 'p.m.'], group: ',', point: '.', isNumeric: true },
    'sv-se': { order: 'ymd', cycle: 'h23', otherCycle: 'h23', noon: ['fm', 'em'], group: '\u00a0', point: ',', isNumeric: true, between: ' ' },
    'de-de': { order: 'd.m.y', cycle: 'h23', otherCycle: 'h23', noon: ['AM', 'PM'], group: '.', point: ',', isNumeric: true },
  };
  for (const tag in LOCALES) LOCALES[tag].tag = tag;
  const WHOLE = { __proto__: null, en: 'en-us', sv: 'sv-se', de: 'de-de' };

  const WEEKDAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
  const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];

  const DIGITS = ['numeric', '2-digit'];
  const NAMED = ['long', 'short', 'narrow'];
  const NAMES_US = { __proto__: null, EST: -5, EDT: -4, CST: -6, CDT: -5, MST: -7, MDT: -6, PST: -8, PDT: -7, AKST: -9, AKDT: -8, HST: -10 };
  const NAMES_EUROPE = { __proto__: null, GMT: 0, BST: 1, WET: 0, WEST: 1, CET: 1, CEST: 2, EET: 2, EEST: 3 };
  const CYCLES = ['h11', 'h12', 'h23', 'h24'];
  const FIELDS = {
    weekday: NAMED, year: DIGITS, month: [...DIGITS, ...NAMED], day: DIGITS,
    hour: DIGITS, minute: DIGITS, second: DIGITS,
  };
  const DATE = ['weekday', 'year', 'month', 'day'];
  const TIME = ['hour', 'minute', 'second'];

  const LAST = 8.64e15;
  // The mean one.
  const YEAR = 31_556_952_000;

  const two = (number) => String(number).padStart(2, '0');
  const refused = (what) => new TypeError(`${what} is not supported (docs/scripts.md)`);

  // ---- arguments -------------------------------------------------------------------------------------------------

  // The first locale as it is given, and as it is compared.
  function tagOf(locales) {
    const [first = 'en-US'] = Array.isArray(locales) ? locales : [locales];
    if (typeof first !== 'string' || !/^[a-z]{2,8}(-[a-z0-9]{1,8})*$/i.test(first)) {
      throw new RangeError('Incorrect locale information provided');
    }
    return [first, first.toLowerCase()];
  }

  function localeOf(locales) {
    const [first, whole] = tagOf(locales);
    const [, tag, hourCycle] = /^(.*?)(?:-u-hc-(h11|h12|h23|h24))?$/.exec(whole);
    const locale = LOCALES[WHOLE[tag] ?? tag];
    if (locale === undefined) throw refused(`the locale '${first}'`);
    return hourCycle === undefined ? locale : { ...locale, asked: hourCycle };
  }

  function given(options) {
    if (options === null) throw new TypeError('Cannot convert undefined or null to object');
    return options ?? {};
  }

  function oneOf(options, name, values) {
    if (options[name] === undefined) return undefined;
    const value = String(options[name]);
    if (!values.includes(value)) throw new RangeError(`Value ${value} out of range for option ${name}: it is one of ${values.join(', ')}`);
    return value;
  }

  function refuse(options, names) {
    for (const name of names) if (options[name] !== undefined) throw refused(`the option '${name}'`);
  }

  // ---- dates -----------------------------------------------------------------------------------------------------

  // `required` are the fields of which one is to be there for `defaults` not to be added.
  function formatDate(date, locales, options, required, defaults) {
    const locale = localeOf(locales);
    options = given(options);
    if (options.calendar !== 'gregory') refuse(options, ['calendar']);
    if (options.numberingSystem !== 'latn') refuse(options, ['numberingSystem']);
    refuse(options, ['dayPeriod', 'era', 'fractionalSecondDigits']);
    const shown = {};
    for (const name of [...DATE, ...TIME]) shown[name] = oneOf(options, name, FIELDS[name]);
    if (options.timeZoneName !== 'short') refuse(options, ['timeZoneName']);
    shown.zone = options.timeZoneName;
    const hourCycle = oneOf(options, 'hourCycle', CYCLES);
    const styles = {
      date: oneOf(options, 'dateStyle', ['full', 'long', 'medium', 'short']),
      time: oneOf(options, 'timeStyle', ['full', 'long', 'medium', 'short']),
    };
    const explicit = [...DATE, ...TIME, 'zone'].find((name) => shown[name] !== undefined);
    if (styles.date === undefined && styles.time === undefined) {
      if (!required.some((name) => shown[name] !== undefined)) for (const name of defaults) shown[name] = 'numeric';
    } else {
      if (explicit !== undefined) throw new TypeError(`Can't set option ${explicit} when dateStyle or timeStyle is used`);
      if (styles.time !== undefined && !required.includes('hour')) throw new TypeError('Invalid option : timeStyle');
      if (styles.date !== undefined && !required.includes('day')) throw new TypeError('Invalid option : dateStyle');
      applyStyles(shown, styles, locale);
    }
    const zone = options.timeZone === undefined ? undefined : String(options.timeZone);
    const at = date.getTime();
    const shift = zone === undefined ? date.getTimezoneOffset() * -60 : offset(zone, at);
    if (shift === undefined) throw new RangeError(`Invalid time zone specified: ${zone}`);
    if (Number.isNaN(at)) return 'Invalid Date';
    let cycle = hourCycle ?? locale.asked ?? locale.cycle;
    if (options.hour12 !== undefined) cycle = options.hour12 ? 'h12' : locale.otherCycle;
    const zoneName = shown.zone && nameOf(zone ?? local(), at, shift, locale);
    // The local time may lie beyond what a date can be; after 400 years the calendar repeats itself.
    const shifted = at + shift * 1000;
    shown.years = Math.abs(shifted) <= LAST ? 0 : shifted > 0 ? 400 : -400;
    return written(new Date(shifted - shown.years * YEAR), shown, locale, cycle, zoneName);
  }

  // Names that a locale has for zones of its part of the world, with their offsets in hours; those of others are offsets.
  function nameOf(zone, at, shift, { order, isNumeric }) {
    if (isNumeric) throw refused("of this locale, the option 'timeZoneName'");
    const name = abbreviation(zone, at);
    if (name === 'UTC') return name;
    const [place, names] = order === 'mdy' ? [/^(America|US|Canada)\/|^Pacific\/Honolulu$/i, NAMES_US] : [/^Europe\//i, NAMES_EUROPE];
    if (place.test(zone) && names[name] * 3600 === shift) return name;
    const minutes = Math.trunc(Math.abs(shift) / 60);
    if (minutes === 0) return 'GMT';
    return `GMT${shift < 0 ? '-' : '+'}${Math.trunc(minutes / 60)}${minutes % 60 === 0 ? '' : `:${two(minutes % 60)}`}`;
  }

  function applyStyles(shown, { date, time }, locale) {
    if (time === 'full') throw refused("the value 'full' of the option 'timeStyle'");
    if (date !== undefined) {
      Object.assign(shown, { year: 'numeric', month: date === 'medium' ? 'short' : 'long', day: 'numeric' });
      if (date === 'full') shown.weekday = 'long';
      if (date === 'short') {
        shown.month = 'numeric';
        if (locale.order === 'mdy') shown.year = '2-digit';
        if (locale.order === 'd.m.y') Object.assign(shown, { year: '2-digit', month: '2-digit', day: '2-digit' });
      }
    }
    if (time !== undefined) Object.assign(shown, { hour: locale.cycle === 'h12' ? 'numeric' : '2-digit', minute: '2-digit' });
    if (time === 'medium' || time === 'long') shown.second = '2-digit';
    if (time === 'long') shown.zone = 'short';
  }

  // `local` has the local time for UTC.
  function written(local, shown, locale, cycle, zoneName) {
    const day = dateOf(local, shown, locale);
    const clock = timeOf(local, shown, locale, cycle);
    const time = clock === undefined || zoneName === undefined ? clock ?? zoneName : `${clock} ${zoneName}`;
    if (day === undefined || time === undefined) return day ?? time ?? '';
    if (locale.between !== undefined) return day + locale.between + time;
    const isWeekdayOnly = shown.year === undefined && shown.month === undefined && shown.day === undefined;
    const isClock = shown.hour !== undefined && (shown.minute !== undefined || locale.order === 'mdy');
    if (isWeekdayOnly && isClock) return `${day} ${time}`;
    return day + (shown.month === 'long' ? ' at ' : ', ') + time;
  }

  function named(name, form) {
    return form === 'long' ? name : name.slice(0, form === 'short' ? 3 : 1);
  }

  function dateOf(local, shown, locale) {
    const digits = (name, number) => (shown[name] === undefined ? undefined : shown[name] === '2-digit' ? two(number % 100) : String(number));
    const weekday = shown.weekday && named(WEEKDAYS[local.getUTCDay()], shown.weekday);
    const whole = local.getUTCFullYear() + shown.years;
    // Before the year 1 was the year 1 BC.
    const year = digits('year', whole > 0 ? whole : 1 - whole);
    const day = digits('day', local.getUTCDate());
    const isNamed = NAMED.includes(shown.month);
    let month = isNamed ? monthName(local, shown.month, locale) : digits('month', local.getUTCMonth() + 1);
    if (locale.isNumeric) return numericDate({ weekday, year, month, day, isNamed }, locale);
    let rest;
    if (month === undefined && weekday !== undefined && day !== undefined) {
      return [...(locale.order === 'mdy' ? [day, weekday] : [weekday, day]), year].filter(Boolean).join(' ');
    }
    if (month === undefined) {
      rest = day !== undefined && year !== undefined ? `${year} (day: ${day})` : day ?? year;
    } else if (locale.order === 'mdy') {
      if (!isNamed) rest = [month, day, year].filter(Boolean).join('/');
      else rest = (day === undefined ? month : `${month} ${day}`) + (year === undefined ? '' : `${day === undefined ? ' ' : ', '}${year}`);
    } else if (isNamed) {
      rest = [day, month, year].filter(Boolean).join(' ');
    } else {
      if (day !== undefined || year !== undefined) month = month.padStart(2, '0');
      rest = [day?.padStart(2, '0'), month, year].filter(Boolean).join('/');
    }
    if (weekday === undefined || rest === undefined) return weekday ?? rest;
    if (day !== undefined && month !== undefined) {
      return locale.order === 'dmy' && year === undefined ? `${weekday} ${rest}` : `${weekday}, ${rest}`;
    }
    return `${rest} ${weekday}`;
  }

  function monthName(local, form, locale) {
    const name = MONTHS[local.getUTCMonth()];
    return locale.order === 'dmy' && form === 'short' && name === 'September' ? 'Sept' : named(name, form);
  }

  function numericDate({ weekday, year, month, day, isNamed }, locale) {
    const all = [year, month, day];
    if (weekday === undefined && all.every((text) => text === undefined)) return undefined;
    if (weekday !== undefined || isNamed || all.includes(undefined)) {
      throw refused('of this locale, a date of other fields than year, month and day in digits');
    }
    return locale.order === 'd.m.y' ? `${day}.${month}.${year}` : [year, month.padStart(2, '0'), day.padStart(2, '0')].join('-');
  }

  function timeOf(local, shown, locale, cycle) {
    if (shown.hour === undefined) {
      if (shown.minute === undefined) return shown.second && String(local.getUTCSeconds());
      if (shown.second === undefined) return String(local.getUTCMinutes());
      return `${two(local.getUTCMinutes())}:${two(local.getUTCSeconds())}`;
    }
    if (shown.minute === undefined && (shown.second !== undefined || locale.order === 'd.m.y')) {
      throw refused('an hour without minutes, of this locale or with seconds,');
    }
    const isHalf = cycle === 'h11' || cycle === 'h12';
    let hour = local.getUTCHours();
    const noon = isHalf ? ` ${locale.noon[hour < 12 ? 0 : 1]}` : '';
    if (isHalf) hour %= 12;
    if (hour === 0 && (cycle === 'h12' || cycle === 'h24')) hour = isHalf ? 12 : 24;
    const isBare = shown.zone === undefined ? shown.minute === '2-digit' && shown.second !== 'numeric' : shown.second !== undefined;
    const isShort = isHalf || (locale.order === 'dmy' && isBare);
    let time = isShort && shown.hour === 'numeric' ? String(hour) : two(hour);
    if (shown.minute !== undefined) time += `:${two(local.getUTCMinutes())}`;
    if (shown.second !== undefined) time += `:${two(local.getUTCSeconds())}`;
    return time + noon;
  }

  // ---- numbers ---------------------------------------------------------------------------------------------------

  const SIGNS = {
    __proto__: null,
    AUD: 'A$', BRL: 'R$', CAD: 'CA$', CNY: 'CN¥', EUR: '€', GBP: '£', HKD: 'HK$', ILS: '₪', INR: '₹', JPY: '¥', KRW: '₩',
    MXN: 'MX$', NZD: 'NZ$', PHP: '₱', TWD: 'NT$', USD: '$', VND: '₫', XCD: 'EC$',
  };
  const LOCAL_SIGNS = { 'en-gb': { JPY: 'JP¥', USD: 'US$' }, 'en-ca': { CAD: '$', USD: 'US$', JPY: 'JP¥' } };
  const WITHOUT_DIGITS = ['CLP', 'ISK', 'JPY', 'KRW', 'PYG', 'UGX', 'VND', 'XAF', 'XOF', 'XPF'];
  const WITH_THREE_DIGITS = ['BHD', 'JOD', 'KWD', 'OMR', 'TND'];

  function formatNumber(value, locales, options) {
    const locale = localeOf(locales);
    options = given(options);
    if (options.numberingSystem !== 'latn') refuse(options, ['numberingSystem']);
    if (options.notation !== 'standard') refuse(options, ['notation']);
    if (options.signDisplay !== 'auto') refuse(options, ['signDisplay']);
    if (options.currencySign !== 'standard') refuse(options, ['currencySign']);
    if (options.currencyDisplay !== 'symbol') refuse(options, ['currencyDisplay']);
    refuse(options, ['maximumSignificantDigits', 'minimumSignificantDigits', 'roundingIncrement', 'roundingMode', 'roundingPriority', 'trailingZeroDisplay', 'unit', 'compactDisplay']);
    const style = options.style === 'unit' ? undefined : oneOf(options, 'style', ['decimal', 'percent', 'currency']) ?? 'decimal';
    if (style === undefined) throw refused("the style 'unit'");
    const currency = style === 'currency' ? currencyOf(options) : undefined;
    const usual = currency === undefined ? undefined : WITHOUT_DIGITS.includes(currency) ? 0 : WITH_THREE_DIGITS.includes(currency) ? 3 : 2;
    const [least, most] = digitsOf(options, usual ?? 0, usual ?? (style === 'percent' ? 0 : 3));
    const whole = count(options, 'minimumIntegerDigits', 1, 21) ?? 1;
    const grouped = options.useGrouping === undefined || (options.useGrouping !== false && options.useGrouping !== 'false');
    const isNegative = value < 0 || Object.is(value, -0);
    const text = magnitude(value, { style, least, most, whole, group: grouped ? locale.group : '', point: locale.point });
    const sign = !isNegative ? '' : locale.order === 'ymd' && locale.point === ',' ? '\u2212' : '-';
    if (style === 'percent') return `${sign}${text}${locale.point === ',' ? '\u00a0' : ''}%`;
    return currency === undefined ? sign + text : withCurrency(sign, text, currency, locale);
  }

  function currencyOf({ currency }) {
    if (currency === undefined) throw new TypeError('Currency code is required with currency style.');
    if (!/^[a-z]{3}$/i.test(currency)) throw new RangeError(`Invalid currency code : ${String(currency)}`);
    return String(currency).toUpperCase();
  }

  function withCurrency(sign, text, currency, locale) {
    if (locale.point === ',') {
      const known = currency === 'EUR' ? '€' : currency === 'SEK' && locale.order === 'ymd' ? 'kr' : undefined;
      if (known === undefined) throw refused(`of this locale, the currency ${currency}`);
      return `${sign}${text}\u00a0${known}`;
    }
    const symbol = LOCAL_SIGNS[locale.tag]?.[currency] ?? SIGNS[currency];
    return symbol === undefined ? `${sign}${currency}\u00a0${text}` : sign + symbol + text;
  }

  function count(options, name, least, most) {
    if (options[name] === undefined) return undefined;
    const number = Number(options[name]);
    if (!(number >= least && number <= most)) throw new RangeError(`${name} value is out of range.`);
    return Math.floor(number);
  }

  // How many digits there are after the point, at least and at most.
  function digitsOf(options, least, most) {
    const minimum = count(options, 'minimumFractionDigits', 0, 100);
    const maximum = count(options, 'maximumFractionDigits', 0, 100);
    if (minimum !== undefined && maximum !== undefined && minimum > maximum) {
      throw new RangeError('maximumFractionDigits value is out of range.');
    }
    return [minimum ?? Math.min(least, maximum ?? least), maximum ?? Math.max(most, minimum ?? most)];
  }

  // Without its sign. What is rounded are the decimal digits that stand for the number.
  function magnitude(value, { style, least, most, whole, group, point }) {
    if (Number.isNaN(value)) return 'NaN';
    if (value === Infinity || value === -Infinity) return '∞';
    const [, before, after = '', power = '0'] = /^-?(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(value));
    // The number is `digits` with the point before the digit at `place`.
    let digits = before + after;
    let place = before.length + Number(power) + (style === 'percent' ? 2 : 0);
    if (place <= 0) {
      digits = '0'.repeat(1 - place) + digits;
      place = 1;
    }
    digits = digits.padEnd(place, '0');
    if (digits.length > place + most) {
      const isUp = digits[place + most] >= '5';
      digits = digits.slice(0, place + most);
      if (isUp) {
        const { length } = digits;
        digits = String(BigInt(digits) + 1n).padStart(length, '0');
        place += digits.length - length;
      }
    }
    const fraction = digits.slice(place).replace(/0+$/, '').padEnd(least, '0');
    const integer = digits.slice(0, place).replace(/^0+/, '').padStart(whole, '0');
    return integer.replace(/\B(?=(\d{3})+$)/g, group) + (fraction === '' ? '' : point + fraction);
  }

  // ---- lists -----------------------------------------------------------------------------------------------------

  function formatList(list, locales, options) {
    let text = '';
    for (let at = 0; at < list.length; at++) {
      const item = list[at];
      if (at > 0) text += ',';
      if (item !== undefined && item !== null) text += item.toLocaleString(locales, options);
    }
    return text;
  }

  // ---- the order of texts ----------------------------------------------------------------------------------------

  // Languages other than Swedish have the usual order: what some of them do otherwise is a letter or two.
  function orderOf(locales) {
    const [first, tag] = tagOf(locales);
    const [, language, isNumeric] = /^(.*?)(-u-kn(?:-true)?)?$/.exec(tag);
    if (language.includes('-u-')) throw refused(`the locale '${first}'`);
    return { swedish: /^sv\b/.test(language), numeric: isNumeric !== undefined };
  }

  function compare(text, other, locales, options) {
    if (text === undefined || text === null) throw new TypeError('String.prototype.localeCompare called on null or undefined');
    text = `${text}`;
    other = `${other}`;
    if (locales === undefined && options === undefined) return order(text, other, true, true, false, false);
    const { swedish, numeric } = orderOf(locales);
    options = given(options);
    if (options.usage !== 'sort') refuse(options, ['usage']);
    if (options.caseFirst !== 'false') refuse(options, ['caseFirst']);
    if (options.ignorePunctuation !== false) refuse(options, ['ignorePunctuation']);
    const sensitivity = oneOf(options, 'sensitivity', ['base', 'accent', 'case', 'variant']) ?? 'variant';
    const hasAccents = sensitivity === 'accent' || sensitivity === 'variant';
    const hasCase = sensitivity === 'case' || sensitivity === 'variant';
    return order(text, other, hasAccents, hasCase, options.numeric === undefined ? numeric : Boolean(options.numeric), swedish);
  }

  const all = ['year', 'month', 'day', ...TIME];
  return {
    dateTime: (date, locales, options) => formatDate(date, locales, options, [...DATE, ...TIME], all),
    date: (date, locales, options) => formatDate(date, locales, options, DATE, ['year', 'month', 'day']),
    time: (date, locales, options) => formatDate(date, locales, options, TIME, TIME),
    number: formatNumber,
    list: formatList,
    compare,
  };
})
