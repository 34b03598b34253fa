// A VGA as far as text needs it: the registers remember, the text lies in memory, and the screen can be read.
import type { Bus } from '../bus.js';
import type { Clock } from '../clock.js';
import type { GuestMemory } from '../memory.js';

/** Where the text is, in colour modes: two bytes a character, the character and its colours. */
export const TEXT_MEMORY = 0xb8000;
const TEXT_MEMORY_SIZE = 0x8000;

const CRTC_HORIZONTAL_END = 0x01;
const CRTC_OVERFLOW = 0x07;
const CRTC_MAXIMUM_SCAN_LINE = 0x09;
const CRTC_START = 0x0c;
const CRTC_CURSOR = 0x0e;
const CRTC_VERTICAL_END = 0x12;
const CRTC_OFFSET = 0x13;

/** Registers behind an index. */
class IndexedRegisters {
  index = 0;
  readonly values: Uint8Array;
  constructor(count: number) {
    this.values = new Uint8Array(count);
  }
  read(): number {
    return this.values[this.index] ?? 0;
  }
  write(value: number): void {
    this.values[this.index] = value; // beyond the last one it is lost
  }
}

/** Code page 437 above ASCII, as text modes show it. */
const UPPER_HALF =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ';

const character = (code: number): string =>
  code >= 0x80 ? UPPER_HALF[code - 0x80]! : code < 0x20 || code === 0x7f ? ' ' : String.fromCharCode(code);

export class Vga {
  readonly #clock: Clock;
  readonly #crtc = new IndexedRegisters(25);
  readonly #sequencer = new IndexedRegisters(5);
  readonly #graphics = new IndexedRegisters(9);
  readonly #attribute = new IndexedRegisters(21);
  readonly #palette = new Uint8Array(768);
  #attributeIsData = false;
  #paletteRead = 0;
  #paletteWrite = 0;
  #paletteMask = 0xff;
  #miscellaneous = 0x67;
  #feature = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    // 80 columns and 25 lines of 16 scan lines, as the BIOS sets mode 3: what a guest without BIOS finds.
    const crtc = this.#crtc.values;
    crtc[CRTC_HORIZONTAL_END] = 79;
    crtc[CRTC_OVERFLOW] = 0x1f;
    crtc[CRTC_MAXIMUM_SCAN_LINE] = 0x4f;
    crtc[CRTC_VERTICAL_END] = 0x8f;
    crtc[CRTC_OFFSET] = 40;
  }

  connect(ports: Bus): void {
    const device = {
      read: (offset: number) => this.#read(0x3c0 + offset),
      write: (offset: number, value: number) => {
        this.#write(0x3c0 + offset, value);
      },
    };
    ports.add(0x3c0, 0x1b, device);
  }

  #read(port: number): number {
    switch (port) {
      case 0x3c0:
        return this.#attribute.index;
      case 0x3c1:
        return this.#attribute.read();
      case 0x3c4:
        return this.#sequencer.index;
      case 0x3c5:
        return this.#sequencer.read();
      case 0x3c6:
        return this.#paletteMask;
      case 0x3c8:
        return Math.floor(this.#paletteWrite / 3);
      case 0x3c9: {
        const value = this.#palette[this.#paletteRead]!;
        this.#paletteRead = (this.#paletteRead + 1) % this.#palette.length;
        return value;
      }
      case 0x3ca:
        return this.#feature;
      case 0x3cc:
        return this.#miscellaneous;
      case 0x3ce:
        return this.#graphics.index;
      case 0x3cf:
        return this.#graphics.read();
      case 0x3d4:
        return this.#crtc.index;
      case 0x3d5:
        return this.#crtc.read();
      case 0x3da:
        this.#attributeIsData = false;
        return this.#status;
      default:
        return 0;
    }
  }

  /** Input status 1: guests wait for the retraces, 70 a second of the screen and one a line. */
  get #status(): number {
    const line = this.#clock.now() / 31_778;
    const vertical = line % 449 >= 412;
    const horizontal = line % 1 >= 0.8;
    return (vertical ? 0x08 : 0) | (vertical || horizontal ? 0x01 : 0);
  }

  #write(port: number, value: number): void {
    switch (port) {
      case 0x3c0:
        if (this.#attributeIsData) this.#attribute.write(value);
        else this.#attribute.index = value & 0x1f;
        this.#attributeIsData = !this.#attributeIsData;
        break;
      case 0x3c2:
        this.#miscellaneous = value;
        break;
      case 0x3c4:
        this.#sequencer.index = value & 7;
        break;
      case 0x3c5:
        this.#sequencer.write(value);
        break;
      case 0x3c6:
        this.#paletteMask = value;
        break;
      case 0x3c7:
        this.#paletteRead = value * 3;
        break;
      case 0x3c8:
        this.#paletteWrite = value * 3;
        break;
      case 0x3c9:
        this.#palette[this.#paletteWrite] = value & 0x3f;
        this.#paletteWrite = (this.#paletteWrite + 1) % this.#palette.length;
        break;
      case 0x3ce:
        this.#graphics.index = value & 15;
        break;
      case 0x3cf:
        this.#graphics.write(value);
        break;
      case 0x3d4:
        this.#crtc.index = value & 31;
        break;
      case 0x3d5:
        this.#crtc.write(value);
        break;
      case 0x3da:
        this.#feature = value;
        break;
      default:
    }
  }

  #crtc16(register: number): number {
    return (this.#crtc.values[register]! << 8) | this.#crtc.values[register + 1]!;
  }

  get columns(): number {
    return this.#crtc.values[CRTC_HORIZONTAL_END]! + 1;
  }

  get lines(): number {
    const crtc = this.#crtc.values;
    const overflow = crtc[CRTC_OVERFLOW]!;
    const height = (crtc[CRTC_VERTICAL_END]! | ((overflow & 0x02) << 7) | ((overflow & 0x40) << 3)) + 1;
    return Math.floor(height / ((crtc[CRTC_MAXIMUM_SCAN_LINE]! & 31) + 1));
  }

  /** Where the cursor stands. */
  get cursor(): { column: number; line: number } {
    const at = this.#crtc16(CRTC_CURSOR) - this.#crtc16(CRTC_START);
    return { column: at % this.columns, line: Math.floor(at / this.columns) };
  }

  /** What the screen shows in text mode, line by line, without the blanks at their ends. */
  screen(memory: GuestMemory): string[] {
    const text = new Uint8Array(TEXT_MEMORY_SIZE);
    memory.read(TEXT_MEMORY, text);
    const start = 2 * this.#crtc16(CRTC_START);
    const pitch = 4 * this.#crtc.values[CRTC_OFFSET]!;
    return Array.from({ length: this.lines }, (_, line) =>
      Array.from({ length: this.columns }, (__, column) =>
        character(text[(start + line * pitch + 2 * column) % TEXT_MEMORY_SIZE]!),
      )
        .join('')
        .trimEnd(),
    );
  }
}
