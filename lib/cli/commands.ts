// The commands of `nvmm`, in the order of its help.
import type { Command } from './command.js';
import { identify } from './identify.js';
import { list } from './list.js';
import { run } from './run.js';
import { selftest } from './selftest.js';
import { top } from './top.js';

export const COMMANDS: readonly Command[] = [identify, list, top, run, selftest];

/** What `nvmm` takes instead of a command. */
export const GLOBAL_OPTIONS = { help: 'this text', version: "the package's version" } as const;

/** The text of `nvmm --help`. */
export function overview(): string {
  const rows = [
    ...COMMANDS.map(
      ({ name, operands, summary }) => [operands === undefined ? name : `${name} FILE`, summary] as const,
    ),
    ...Object.entries(GLOBAL_OPTIONS).map(([name, help]) => [`--${name}`, help] as const),
  ];
  const width = Math.max(...rows.map(([head]) => head.length)) + 2;
  return [
    'Usage: nvmm COMMAND [OPTION]...',
    "Works with NVMM, NetBSD's hypervisor, or with a software device that behaves like it.",
    '',
    ...rows.map(([head, text]) => `  ${head.padEnd(width)}${text}`),
    '',
    'nvmm COMMAND --help tells more. On a system without NVMM, add --device mock, or set NVMM_DEVICE=mock.',
    '',
  ].join('\n');
}
