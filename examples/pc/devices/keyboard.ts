// An AT keyboard: scan codes, and the commands that it answers.

/**
 * Scan code set 2 by that of set 1, from 0x01 to 0x58; 0 where no key is. Keys of the extended block have the same codes
 * behind 0xe0.
 */
const SET_2 = Buffer.from(
  '0076161e26252e363d3e46454e55660d' + // Esc, digits, Backspace, Tab
    '151d242d2c353c43444d545b5a141c1b' + // Q to S
    '232b34333b424b4c520e125d1a22212a' + // D to V
    '32313a41494a597c1129580506040c03' + // B to F5
    '0b830a0109777e6c757d7b6b73747969' + // F6 to keypad 1
    '727a7071840061' + // keypad 2 to the key beside the left Shift
    '7807', // F11, F12
  'hex',
);
const SET_1 = new Uint8Array(256);
SET_2.forEach((code, index) => (SET_1[code] = index));

const EXTENDED = 0xe0;
const RELEASED = 0xf0;
const RELEASED_SET_1 = 0x80;

const ACK = 0xfa;
const RESEND = 0xfe;
const SELF_TEST_PASSED = 0xaa;
const ECHO = 0xee;
const ID = [0xab, 0x83];

/** Bytes that a keyboard keeps when nobody reads them. */
const BUFFER_SIZE = 64;

/** A key: its code in set 1, with 0xe000 added for those of the extended block. */
export type Key = number;

/** Turns a keyboard's bytes of set 2 into set 1, as the controller does. */
export class SetTranslator {
  #released = false;

  /** undefined: nothing to pass on yet. */
  translate(byte: number): number | undefined {
    if (byte === RELEASED) {
      this.#released = true;
      return undefined;
    }
    const key = SET_1[byte]!;
    const code = key !== 0 ? key : byte;
    const released = this.#released;
    this.#released = false;
    return released ? code | RELEASED_SET_1 : code;
  }
}

export class Keyboard {
  readonly #bytes: number[] = [];
  #scanning = true;
  #set = 2;
  /** The command whose parameter comes next. */
  #command: number | undefined;

  /** Bytes wait to be read. */
  get available(): boolean {
    return this.#bytes.length > 0;
  }

  read(): number | undefined {
    return this.#bytes.shift();
  }

  key(key: Key, pressed: boolean): void {
    if (!this.#scanning) return;
    const code = key & 0xff;
    const bytes: number[] = key > 0xff ? [EXTENDED] : [];
    if (this.#set === 1) bytes.push(pressed ? code : code | RELEASED_SET_1);
    else bytes.push(...(pressed ? [] : [RELEASED]), SET_2[code] ?? 0);
    this.#send(...bytes);
  }

  /** All of `bytes`, or none if there is no room. */
  #send(...bytes: number[]): void {
    if (this.#bytes.length + bytes.length <= BUFFER_SIZE) this.#bytes.push(...bytes);
  }

  /** A byte from the host. */
  write(byte: number): void {
    if (this.#command !== undefined) {
      const command = this.#command;
      this.#command = undefined;
      this.#parameter(command, byte);
      return;
    }
    switch (byte) {
      case 0xed: // lights
      case 0xf0: // scan code set
      case 0xf3: // repeat rate
        this.#command = byte;
        this.#send(ACK);
        break;
      case 0xee:
        this.#send(ECHO);
        break;
      case 0xf2:
        this.#send(ACK, ...ID);
        break;
      case 0xf4:
      case 0xf5:
      case 0xf6:
        this.#scanning = byte !== 0xf5;
        if (byte === 0xf6) this.#set = 2;
        this.#send(ACK);
        break;
      case 0xff:
        this.#bytes.length = 0;
        this.#scanning = true;
        this.#set = 2;
        this.#send(ACK, SELF_TEST_PASSED);
        break;
      default:
        this.#send(RESEND);
    }
  }

  #parameter(command: number, value: number): void {
    this.#send(ACK);
    if (command !== 0xf0) return;
    if (value === 0) this.#send(this.#set);
    else if (value === 1 || value === 2) this.#set = value;
  }
}

// ---- Names of keys, and the keys of characters, on a US keyboard ----

const ROWS: readonly (readonly [first: Key, plain: string, shifted: string])[] = [
  [0x02, '1234567890-=', '!@#$%^&*()_+'],
  [0x10, 'qwertyuiop[]', 'QWERTYUIOP{}'],
  [0x1e, "asdfghjkl;'`", 'ASDFGHJKL:"~'],
  [0x2b, '\\zxcvbnm,./', '|ZXCVBNM<>?'],
  [0x39, ' ', ' '],
  [0x1c, '\n', '\n'],
  [0x0f, '\t', '\t'],
  [0x0e, '\b', '\b'],
  [0x01, '\x1b', '\x1b'],
];

const SHIFT: Key = 0x2a;
const CHARACTERS = new Map<string, readonly Key[]>();
for (const [first, plain, shifted] of ROWS) {
  for (let i = 0; i < plain.length; i++) {
    CHARACTERS.set(shifted[i]!, [SHIFT, first + i]);
    CHARACTERS.set(plain[i]!, [first + i]);
  }
}

const NAMES: Readonly<Record<string, Key>> = {
  esc: 0x01,
  backspace: 0x0e,
  tab: 0x0f,
  ret: 0x1c,
  ctrl: 0x1d,
  shift: SHIFT,
  alt: 0x38,
  spc: 0x39,
  minus: 0x0c,
  up: 0xe048,
  down: 0xe050,
  left: 0xe04b,
  right: 0xe04d,
  home: 0xe047,
  end: 0xe04f,
  pgup: 0xe049,
  pgdn: 0xe051,
  insert: 0xe052,
  delete: 0xe053,
  ...Object.fromEntries(Array.from({ length: 10 }, (_, i) => [`f${i + 1}`, 0x3b + i])),
  f11: 0x57,
  f12: 0x58,
};

/** The keys to hold together for a character; undefined if the keyboard has none. */
export const keysOfCharacter = (character: string): readonly Key[] | undefined => CHARACTERS.get(character);

/** The keys of a chord as 'ctrl-alt-delete' or 'a'; undefined if one of them has no such name. */
export function keysOfChord(chord: string): readonly Key[] | undefined {
  const keys = chord.split('-').map((name) => NAMES[name] ?? CHARACTERS.get(name)?.at(-1));
  return keys.every((key) => key !== undefined) ? keys : undefined;
}
