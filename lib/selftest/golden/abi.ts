// The kernel's structs and numbers, read from the table that describes them (abi.json beside this file).
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

import { dataFolder } from './native.js';

interface FieldRow {
  name: string;
  offset?: number;
  size?: number;
  kind?: string;
  bitfield?: boolean;
  unit_offset?: number;
  unit_size?: number;
  bit_in_unit?: number;
  width?: number;
}

interface AbiTable {
  ioctls: { name: string; request: string }[];
  structs: { name: string; size: number; fields: FieldRow[] }[];
  constants: Record<string, Record<string, string>>;
  exit_reason_details: { name: string; value: string; payload: string | null }[];
  netbsd_flags: Record<string, string | number>;
  errno_netbsd_all: Record<string, number>;
}

const table = JSON.parse(readFileSync(resolve(dataFolder, 'abi.json'), 'utf8')) as AbiTable;

/** An integer inside a struct; bit-fields have a shift and a width of their own. */
export interface Field {
  offset: number;
  size: number;
  shift: number;
  width: number;
  signed: boolean;
}

const structs = new Map(table.structs.map((struct) => [struct.name, struct]));

function structNamed(name: string) {
  const struct = structs.get(name);
  if (!struct) throw new Error(`abi.json has no struct ${name}.`);
  return struct;
}

export const sizeOf = (struct: string): number => structNamed(struct).size;

function toField(row: FieldRow): Field {
  const size = row.unit_size ?? row.size ?? 0;
  return {
    offset: row.unit_offset ?? row.offset ?? 0,
    size,
    shift: row.bit_in_unit ?? 0,
    width: row.width ?? size * 8,
    signed: row.kind?.startsWith('i') ?? false,
  };
}

export function fieldOf(struct: string, name: string): Field {
  const row = structNamed(struct).fields.find((field) => field.name === name);
  if (!row) throw new Error(`abi.json has no field ${struct}.${name}.`);
  return toField(row);
}

/** The integers of a struct by name. */
export const fieldsOf = (struct: string): [string, Field][] =>
  structNamed(struct)
    .fields.filter((row) => !['struct', 'union', 'array'].includes(row.kind ?? 'bit-field'))
    .map((row) => [row.name, toField(row)]);

export function getField(bytes: Uint8Array, field: Field, base = 0): bigint {
  let unit = 0n;
  for (let i = field.size - 1; i >= 0; i--) unit = (unit << 8n) | BigInt(bytes[base + field.offset + i] ?? 0);
  const value = unit >> BigInt(field.shift);
  return field.signed ? BigInt.asIntN(field.width, value) : BigInt.asUintN(field.width, value);
}

export function setField(bytes: Uint8Array, field: Field, value: bigint, base = 0): void {
  const mask = ((1n << BigInt(field.width)) - 1n) << BigInt(field.shift);
  let unit = getField(bytes, { ...field, shift: 0, width: field.size * 8, signed: false }, base);
  unit = (unit & ~mask) | ((value << BigInt(field.shift)) & mask);
  for (let i = 0; i < field.size; i++, unit >>= 8n) bytes[base + field.offset + i] = Number(unit & 0xffn);
}

/** A struct's bytes with these fields set, the others 0. */
export function pack(struct: string, values: Record<string, bigint>): Uint8Array {
  const bytes = new Uint8Array(sizeOf(struct));
  for (const [name, value] of Object.entries(values)) setField(bytes, fieldOf(struct, name), value);
  return bytes;
}

export function requestOf(name: string): bigint {
  const row = table.ioctls.find((ioctl) => ioctl.name === name);
  if (!row) throw new Error(`abi.json has no request ${name}.`);
  return BigInt(row.request);
}

/** The constants of one kind, without the prefix that they share. */
export function constants(kind: string, prefix: string): Map<string, bigint> {
  const rows = Object.entries(table.constants[kind] ?? {});
  return new Map(rows.map(([name, value]) => [name.replace(prefix, ''), BigInt(value)]));
}

/** Names of registers in the order of their indices. */
export const indexed = (kind: string, prefix: string): string[] =>
  [...constants(kind, prefix).keys()].filter((name) => !name.startsWith('NVMM_X64_N'));

/** Exit reasons by number, with the member of the union that holds their payload. */
export const exitReasons = new Map(
  table.exit_reason_details.map(({ name, value, payload }) => [
    BigInt(value),
    { name: name.replace('NVMM_VCPU_EXIT_', ''), payload },
  ]),
);

const errnoNames = new Map(Object.entries(table.errno_netbsd_all).map(([name, number]) => [number, name]));

export const errnoName = (errno: number): string => errnoNames.get(errno) ?? `errno ${errno}`;

/** `O_RDONLY|O_CLOEXEC` as a number, after NetBSD's headers. */
export function openFlags(flags: string): number {
  return flags.split('|').reduce((sum, name) => {
    const value = name === 'O_NONBLOCK' ? 4 : (table.netbsd_flags[name] ?? (/^[0-9]/.test(name) ? name : undefined));
    if (value === undefined) throw new Error(`${name} is not a known open flag.`);
    return sum | Number(value);
  }, 0);
}
