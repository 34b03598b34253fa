// The order and the sizes of the callbacks are libnvmm's, for each instruction that it has.
import { expect } from 'chai';
import { Gpr } from 'nvmm';
import { AssistGuest, DATA, DEVICE, VENDORS } from '../support/assist.js';
import { bytes } from '../support/guest.js';

// By name: code with RBX, RSI at the device and RDI at memory (or the other way round), and the calls: r or w, and the size.
const CASES: readonly (readonly [name: string, code: string, calls: string])[] = [
  ...(['or 08', 'and 20', 'sub 28', 'xor 30'] as const).flatMap((text) => {
    const [name, hex] = text.split(' ') as [string, string];
    const opcode = (by: number): string => (parseInt(hex, 16) + by).toString(16).padStart(2, '0');
    return [
      [`${name} [rbx], al`, `${opcode(0)}03`, 'r1 w1'],
      [`${name} [rbx], ax`, `66${opcode(1)}03`, 'r2 w2'],
      [`${name} [rbx], eax`, `${opcode(1)}03`, 'r4 w4'],
      [`${name} [rbx], rax`, `48${opcode(1)}03`, 'r8 w8'],
      [`${name} al, [rbx]`, `${opcode(2)}03`, 'r1'],
      [`${name} rax, [rbx]`, `48${opcode(3)}03`, 'r8'],
    ] as const;
  }),
  ['or byte [rbx], imm8', '800b10', 'r1 w1'],
  ['and dword [rbx], imm32', '812310000000', 'r4 w4'],
  ['xor qword [rbx], imm8', '48833310', 'r8 w8'],
  ['cmp byte [rbx], imm8', '803b10', 'r1'],
  ['cmp word [rbx], imm16', '66813b1000', 'r2'],
  ['cmp qword [rbx], imm8', '48833b10', 'r8'],
  ['xchg [rbx], al', '8603', 'r1 w1'],
  ['xchg [rbx], rax', '488703', 'r8 w8'],
  ['mov [rbx], al', '8803', 'w1'],
  ['mov [rbx], rax', '488903', 'w8'],
  ['mov al, [rbx]', '8a03', 'r1'],
  ['mov rax, [rbx]', '488b03', 'r8'],
  ['mov al, [moffs]', 'a000c0000000000000', 'r1'],
  ['mov rax, [moffs]', '48a100c0000000000000', 'r8'],
  ['mov [moffs], al', 'a200c0000000000000', 'w1'],
  ['mov [moffs], eax', 'a300c0000000000000', 'w4'],
  ['mov byte [rbx], imm8', 'c60310', 'w1'],
  ['mov qword [rbx], imm32', '48c70310000000', 'w8'],
  ['test byte [rbx], imm8', 'f60310', 'r1'],
  ['test dword [rbx], imm32', 'f70310000000', 'r4'],
  ['movzx eax, byte [rbx]', '0fb603', 'r1'],
  ['movzx rax, word [rbx]', '480fb703', 'r2'],
  ['movsb from the device', 'a4', 'r1'],
  ['movsq from the device', '48a5', 'r8'],
  ['rep movsw from the device, one a call', 'f366a5', 'r2 r2 r2'],
  ['movsd inside the device', '89df a5', 'r4 w4'],
  ['cmpsb with the device', 'a6', 'r1'],
  ['cmpsd inside the device', '89df a7', 'r4 r4'],
  ['stosb', '89df aa', 'w1'],
  ['stosq', '89df 48ab', 'w8'],
  ['lodsb', 'ac', 'r1'],
  ['lodsw', '66ad', 'r2'],
];

for (const vendor of VENDORS) {
  describe(`the callbacks of assistMem are those of libnvmm [${vendor}]`, () => {
    let guest: AssistGuest;
    before(() => {
      guest = new AssistGuest(vendor, 'long', true);
    });
    after(() => {
      guest.close();
    });
    for (const [name, code, calls] of CASES) {
      it(`${name}: ${calls}`, () => {
        guest.reset();
        guest.load(bytes(code));
        const { gprs } = guest.vcpu.state;
        gprs[Gpr.RBX] = gprs[Gpr.RSI] = BigInt(DEVICE);
        gprs[Gpr.RDI] = BigInt(DATA);
        gprs[Gpr.RCX] = 3n;
        guest.run();
        const seen = guest.accesses.map(({ write, size }) => `${write ? 'w' : 'r'}${size}`).join(' ');
        expect(seen).to.equal(calls);
        expect(guest.accesses[0]!.gpa).to.equal(DEVICE);
      });
    }
  });
}
