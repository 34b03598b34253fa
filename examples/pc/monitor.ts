// The monitor: commands of the user to the machine, by QEMU's names.
import { exitReasonName } from 'nvmm';
import { keysOfCharacter, keysOfChord } from './devices/keyboard.js';
import type { Pc } from './machine.js';

interface Command {
  readonly usage: string;
  readonly help: string;
  /** The answer; undefined if the arguments are not understood. */
  run(pc: Pc, ...words: string[]): string | undefined;
}

const INFO: Readonly<Record<string, (pc: Pc) => string>> = {
  status: (pc) => (pc.processors.paused ? 'paused' : 'running'),
  registers: (pc) => pc.dump() ?? 'The guest is running: "stop" it first.',
  exits: (pc) =>
    [...pc.processors.exits]
      .sort(([, a], [, b]) => b - a)
      .map(([reason, count]) => `${exitReasonName(reason).padEnd(12)} ${count}`)
      .join('\n'),
  pic: (pc) => String(pc.pic),
  lapic: (pc) => pc.processors.all.map(({ apic }) => String(apic)).join('\n'),
  pci: (pc) =>
    pc.pci.functions
      .map(({ slot, number, function: pciFunction }) => {
        const id = [0, 2].map((register) => hex(pciFunction.read(register, 2), 4)).join(':');
        return `00:${hex(slot, 2)}.${number} ${id}`;
      })
      .join('\n'),
};

const COMMANDS: Readonly<Record<string, Command>> = {
  help: { usage: 'help', help: 'this list', run: () => helpText() },
  info: {
    usage: `info ${Object.keys(INFO).join('|')}`,
    help: 'the state of the machine',
    run: (pc, topic = '') => INFO[topic]?.(pc),
  },
  screen: {
    usage: 'screen',
    help: 'what the VGA shows in text mode',
    run: (pc) => pc.vga.screen(pc.memory).join('\n').trimEnd(),
  },
  xp: {
    usage: 'xp ADDRESS [COUNT]',
    help: 'bytes of guest-physical memory',
    run: (pc, address, count = '64') => {
      const bytes = new Uint8Array(Number(count) <= 4096 ? Number(count) : 0);
      try {
        pc.memory.read(Number(address), bytes);
      } catch {
        return undefined;
      }
      return hexdump(Number(address), bytes);
    },
  },
  sendkey: {
    usage: 'sendkey CHORD',
    help: 'presses keys together: ctrl-alt-delete, f1, a',
    run: (pc, chord = '') => {
      const keys = keysOfChord(chord);
      if (keys === undefined) return undefined;
      pc.keyboard.press(keys);
      return '';
    },
  },
  type: {
    usage: 'type TEXT',
    help: 'types a text, and Enter',
    run: (pc, ...words) => {
      for (const character of `${words.join(' ')}\n`) {
        const keys = keysOfCharacter(character);
        if (keys !== undefined) pc.keyboard.press(keys);
      }
      return '';
    },
  },
  stop: {
    usage: 'stop',
    help: 'the guest pauses',
    run: (pc) => {
      pc.processors.paused = true;
      return '';
    },
  },
  cont: {
    usage: 'cont',
    help: 'the guest goes on',
    run: (pc) => {
      pc.processors.paused = false;
      return '';
    },
  },
  system_powerdown: {
    usage: 'system_powerdown',
    help: 'presses the power button, at which a guest with ACPI may switch itself off',
    run: (pc) => {
      pc.power.pressButton();
      return '';
    },
  },
  system_reset: {
    usage: 'system_reset',
    help: 'presses the reset button',
    run: (pc) => {
      pc.end({ kind: 'reset' });
      return '';
    },
  },
  quit: {
    usage: 'quit',
    help: 'ends the machine',
    run: (pc) => {
      pc.end({ kind: 'quit' });
      return '';
    },
  },
};

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

/** Sixteen bytes a line. */
function hexdump(address: number, bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = Array.from(bytes.subarray(at, at + 16), (byte) => hex(byte, 2));
    lines.push(`${hex(address + at, 9)}: ${part.join(' ')}`);
  }
  return lines.join('\n');
}

const helpText = (): string =>
  Object.values(COMMANDS)
    .map(({ usage, help }) => `${usage.padEnd(40)} ${help}`)
    .join('\n');

/** Carries out a line; what is to be printed. */
export function execute(pc: Pc, line: string): string {
  const [name = '', ...words] = line.trim().split(/\s+/);
  const command = COMMANDS[name];
  if (command === undefined) return `There is no command "${name}": see help.`;
  return command.run(pc, ...words) ?? `Usage: ${command.usage}`;
}
