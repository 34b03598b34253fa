// What the commands print, and how: JSON, tables, sizes.

/** A failure whose message is all that the user needs. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

/** One JSON document on standard output; bigints as hexadecimal strings. `space`: indentation. */
export function printJson(value: unknown, space?: number): void {
  const replacer = (_: string, item: unknown): unknown => (typeof item === 'bigint' ? `0x${item.toString(16)}` : item);
  console.log(JSON.stringify(value, replacer, space));
}

/** Rows in columns two spaces apart; a column of numbers to the right. The first row is the header. */
export function table(rows: readonly (readonly (string | number)[])[]): string {
  const columns = rows[0]!.map((_, column) => ({
    width: Math.max(...rows.map((row) => String(row[column]).length)),
    isNumeric: rows.some((row) => typeof row[column] === 'number'),
  }));
  const cell = (item: string | number, column: number): string => {
    const { width, isNumeric } = columns[column]!;
    return isNumeric ? String(item).padStart(width) : String(item).padEnd(width);
  };
  return rows.map((row) => row.map(cell).join('  ').trimEnd()).join('\n');
}

/** Bytes in at most four characters, as NetBSD's commands show them: 4.0K, 128G. */
export function humanSize(bytes: number): string {
  const units = ['B', 'K', 'M', 'G', 'T', 'P'];
  let unit = 0;
  let value = bytes;
  for (; value >= 999.5; unit++) value /= 1024;
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)}${units[unit]}`;
}

/** A value and the names of its set bits, lowest first, as NetBSD's snprintb shows them: 0x3<CPUID,TPR>. */
export function bits(value: bigint, names: readonly string[]): string {
  if (value === 0n) return '0';
  const set = names.filter((name, bit) => name !== '' && ((value >> BigInt(bit)) & 1n) === 1n);
  return `0x${value.toString(16)}${set.length > 0 ? `<${set.join(',')}>` : ''}`;
}

/** Bytes from text such as 4096, 64K, 16M or 2G; NaN if it is something else. */
export function parseSize(text: string): number {
  const [, digits, unit = ''] = /^(\d+|0x[0-9a-f]+)([kmg]?)$/i.exec(text) ?? [];
  const exponents: Readonly<Record<string, number>> = { '': 0, k: 10, m: 20, g: 30 };
  return digits === undefined ? NaN : Number(digits) * 2 ** exponents[unit.toLowerCase()]!;
}
