#include "oracle_table.h"

#include <array>

#include "oracle_guest.h"

namespace nvmm::oracle {
namespace {

using namespace cpu;
using O = Operand;
using I = Immediate;
using M = Modes;
using P = Prefix;

constexpr uint8_t digit(unsigned n) { return static_cast<uint8_t>(1u << n); }
constexpr uint8_t digits(unsigned first, unsigned last) { return static_cast<uint8_t>((2u << last) - (1u << first)); }

constexpr uint64_t kNotCf = kPF | kAF | kZF | kSF | kOF, kNotZf = kCF | kPF | kAF | kSF | kOF;
constexpr uint64_t kMulFlags = kPF | kAF | kZF | kSF;

constexpr Row kRows[] = {
    // family, name, opcode, count, operand, immediate, traits, undefined flags, digits, modes, prefix
    {"alu", "TEST", 0x84, 1, O::ModRm, I::None, kByteSize, kAF},
    {"alu", "TEST", 0x85, 1, O::ModRm, I::None, 0, kAF},
    {"alu", "TEST", 0xa8, 1, O::None, I::Byte, kByteSize, kAF},
    {"alu", "TEST", 0xa9, 1, O::None, I::Full, 0, kAF},
    {"alu", "TEST", 0xf6, 1, O::ModRm, I::Byte, kByteSize, kAF, digits(0, 1)},
    {"alu", "TEST", 0xf7, 1, O::ModRm, I::Full, 0, kAF, digits(0, 1)},
    {"alu", "NOT", 0xf6, 2, O::ModRm, I::None, kLockable, 0, digit(2)},
    {"alu", "NEG", 0xf6, 2, O::ModRm, I::None, kLockable, 0, digit(3)},
    {"alu", "INC", 0xfe, 2, O::ModRm, I::None, kLockable, 0, digit(0)},
    {"alu", "DEC", 0xfe, 2, O::ModRm, I::None, kLockable, 0, digit(1)},
    {"alu", "INC", 0x40, 8, O::None, I::None, 0, 0, kAnyDigit, M::Legacy},
    {"alu", "DEC", 0x48, 8, O::None, I::None, 0, 0, kAnyDigit, M::Legacy},

    {"move", "MOV", 0x88, 4, O::ModRm},
    {"move", "MOV", 0xa0, 4, O::Offset},
    {"move", "MOV", 0xb0, 8, O::None, I::Byte},
    {"move", "MOV", 0xb8, 8, O::None, I::Whole},
    {"move", "MOV", 0xc6, 1, O::ModRm, I::Byte, 0, 0, digit(0)},
    {"move", "MOV", 0xc7, 1, O::ModRm, I::Full, 0, 0, digit(0)},
    {"move", "MOVZX", 0x0fb6, 2, O::ModRm},
    {"move", "MOVSX", 0x0fbe, 2, O::ModRm},
    {"move", "MOVSXD", 0x63, 1, O::ModRm, I::None, 0, 0, kAnyDigit, M::Long},
    {"move", "MOVNTI", 0x0fc3, 1, O::Memory, I::None, 0, 0, kAnyDigit, M::All, P::None},
    {"move", "MOVBE", 0x38f0, 2, O::Memory, I::None, 0, 0, kAnyDigit, M::All, P::NoRepeat},
    {"move", "LEA", 0x8d, 1, O::Memory},
    {"move", "BSWAP", 0x0fc8, 8},
    {"move", "CBW", 0x98, 1},
    {"move", "CWD", 0x99, 1},
    {"move", "XLAT", 0xd7, 1, O::None, I::None, kTable},
    {"move", "NOP", 0x90, 1},

    {"exchange", "XCHG", 0x86, 2, O::ModRm, I::None, kLockable},
    {"exchange", "XCHG", 0x91, 7},
    {"exchange", "XADD", 0x0fc0, 2, O::ModRm, I::None, kLockable},
    {"exchange", "CMPXCHG", 0x0fb0, 2, O::ModRm, I::None, kLockable | kCompare},
    {"exchange", "CMPXCHG8B", 0x0fc7, 1, O::Memory, I::None, kLockable | kCompare, 0, digit(1)},

    {"condition", "CMOV", 0x0f40, 16, O::ModRm, I::None, kReadsFlags},
    {"condition", "SET", 0x0f90, 16, O::ModRm, I::None, kReadsFlags},

    {"flags", "CMC", 0xf5, 1, O::None, I::None, kReadsFlags},
    {"flags", "CLC", 0xf8, 1},
    {"flags", "STC", 0xf9, 1},
    {"flags", "CLD", 0xfc, 1},
    {"flags", "STD", 0xfd, 1},
    {"flags", "SAHF", 0x9e, 1},
    {"flags", "LAHF", 0x9f, 1, O::None, I::None, kReadsFlags},
    {"flags", "PUSHF", 0x9c, 1, O::None, I::None, kReadsFlags},
    {"flags", "POPF", 0x9d, 1, O::None, I::None, kFrame},

    {"shift", "ROL", 0xc0, 1, O::ModRm, I::Byte, kByteSize | kRotate, 0, digits(0, 1)},
    {"shift", "ROL", 0xc1, 1, O::ModRm, I::Byte, kRotate, 0, digits(0, 1)},
    {"shift", "ROL", 0xd0, 1, O::ModRm, I::None, kByteSize | kRotate, 0, digits(0, 1)},
    {"shift", "ROL", 0xd1, 1, O::ModRm, I::None, kRotate, 0, digits(0, 1)},
    {"shift", "ROL", 0xd2, 1, O::ModRm, I::None, kByteSize | kRotate, 0, digits(0, 1)},
    {"shift", "ROL", 0xd3, 1, O::ModRm, I::None, kRotate, 0, digits(0, 1)},
    {"shift", "RCL", 0xc0, 1, O::ModRm, I::Byte, kByteSize | kRotate | kReadsFlags, 0, digits(2, 3)},
    {"shift", "RCL", 0xc1, 1, O::ModRm, I::Byte, kRotate | kReadsFlags, 0, digits(2, 3)},
    {"shift", "RCL", 0xd0, 1, O::ModRm, I::None, kByteSize | kRotate | kReadsFlags, 0, digits(2, 3)},
    {"shift", "RCL", 0xd1, 1, O::ModRm, I::None, kRotate | kReadsFlags, 0, digits(2, 3)},
    {"shift", "RCL", 0xd2, 1, O::ModRm, I::None, kByteSize | kRotate | kReadsFlags, 0, digits(2, 3)},
    {"shift", "RCL", 0xd3, 1, O::ModRm, I::None, kRotate | kReadsFlags, 0, digits(2, 3)},
    {"shift", "SHL", 0xc0, 1, O::ModRm, I::Byte, kByteSize | kShift, 0, digits(4, 7)},
    {"shift", "SHL", 0xc1, 1, O::ModRm, I::Byte, kShift, 0, digits(4, 7)},
    {"shift", "SHL", 0xd0, 1, O::ModRm, I::None, kByteSize | kShift, 0, digits(4, 7)},
    {"shift", "SHL", 0xd1, 1, O::ModRm, I::None, kShift, 0, digits(4, 7)},
    {"shift", "SHL", 0xd2, 1, O::ModRm, I::None, kByteSize | kShift, 0, digits(4, 7)},
    {"shift", "SHL", 0xd3, 1, O::ModRm, I::None, kShift, 0, digits(4, 7)},
    {"shift", "SHLD", 0x0fa4, 1, O::ModRm, I::Byte, kDoubleShift},
    {"shift", "SHLD", 0x0fa5, 1, O::ModRm, I::None, kDoubleShift},
    {"shift", "SHRD", 0x0fac, 1, O::ModRm, I::Byte, kDoubleShift},
    {"shift", "SHRD", 0x0fad, 1, O::ModRm, I::None, kDoubleShift},

    {"muldiv", "MUL", 0xf6, 2, O::ModRm, I::None, 0, kMulFlags, digit(4)},
    {"muldiv", "IMUL", 0xf6, 2, O::ModRm, I::None, 0, kMulFlags, digit(5)},
    {"muldiv", "IMUL", 0x0faf, 1, O::ModRm, I::None, 0, kMulFlags},
    {"muldiv", "IMUL", 0x69, 1, O::ModRm, I::Full, 0, kMulFlags},
    {"muldiv", "IMUL", 0x6b, 1, O::ModRm, I::Byte, 0, kMulFlags},
    {"muldiv", "DIV", 0xf6, 2, O::ModRm, I::None, kDivide, kArithmeticFlags, digit(6)},
    {"muldiv", "IDIV", 0xf6, 2, O::ModRm, I::None, kDivide, kArithmeticFlags, digit(7)},

    {"bit", "BT", 0x0fa3, 1, O::ModRm, I::None, kBitOffset, kNotCf & ~kZF},
    {"bit", "BTS", 0x0fab, 1, O::ModRm, I::None, kBitOffset | kLockable, kNotCf & ~kZF},
    {"bit", "BTR", 0x0fb3, 1, O::ModRm, I::None, kBitOffset | kLockable, kNotCf & ~kZF},
    {"bit", "BTC", 0x0fbb, 1, O::ModRm, I::None, kBitOffset | kLockable, kNotCf & ~kZF},
    {"bit", "BT", 0x0fba, 1, O::ModRm, I::Byte, kLockable, kNotCf & ~kZF, digits(4, 7)},
    {"bit", "BSF", 0x0fbc, 1, O::ModRm, I::None, 0, kNotZf, kAnyDigit, M::All, P::NotF3},
    {"bit", "BSR", 0x0fbd, 1, O::ModRm, I::None, 0, kNotZf, kAnyDigit, M::All, P::NotF3},
    {"bit", "TZCNT", 0x0fbc, 1, O::ModRm, I::None, 0, kNotCf & ~kZF, kAnyDigit, M::All, P::F3},
    {"bit", "LZCNT", 0x0fbd, 1, O::ModRm, I::None, 0, kNotCf & ~kZF, kAnyDigit, M::All, P::F3},
    {"bit", "POPCNT", 0x0fb8, 1, O::ModRm, I::None, 0, 0, kAnyDigit, M::All, P::F3},

    {"bmi", "ANDN", 0x38f2, 1, O::ModRm, I::None, kVex, kAF | kPF, kAnyDigit, M::All, P::None},
    {"bmi", "BLSR", 0x38f3, 1, O::ModRm, I::None, kVex, kAF | kPF, digits(1, 3), M::All, P::None},
    {"bmi", "BZHI", 0x38f5, 1, O::ModRm, I::None, kVex, kAF | kPF, kAnyDigit, M::All, P::None},
    {"bmi", "PEXT", 0x38f5, 1, O::ModRm, I::None, kVex, 0, kAnyDigit, M::All, P::F3},
    {"bmi", "PDEP", 0x38f5, 1, O::ModRm, I::None, kVex, 0, kAnyDigit, M::All, P::F2},
    {"bmi", "MULX", 0x38f6, 1, O::ModRm, I::None, kVex, 0, kAnyDigit, M::All, P::F2},
    {"bmi", "BEXTR", 0x38f7, 1, O::ModRm, I::None, kVex, kAF | kSF | kPF, kAnyDigit, M::All, P::None},
    {"bmi", "SHLX", 0x38f7, 1, O::ModRm, I::None, kVex, 0, kAnyDigit, M::All, P::P66},
    {"bmi", "SARX", 0x38f7, 1, O::ModRm, I::None, kVex, 0, kAnyDigit, M::All, P::F3},
    {"bmi", "SHRX", 0x38f7, 1, O::ModRm, I::None, kVex, 0, kAnyDigit, M::All, P::F2},
    {"bmi", "RORX", 0x3af0, 1, O::ModRm, I::Byte, kVex, 0, kAnyDigit, M::All, P::F2},
    {"bmi", "ADCX", 0x38f6, 1, O::ModRm, I::None, kReadsFlags, 0, kAnyDigit, M::All, P::P66},
    {"bmi", "ADOX", 0x38f6, 1, O::ModRm, I::None, kReadsFlags, 0, kAnyDigit, M::All, P::F3},

    {"string", "MOVS", 0xa4, 2, O::None, I::None, kString},
    {"string", "CMPS", 0xa6, 2, O::None, I::None, kString | kTwoReads},
    {"string", "STOS", 0xaa, 2, O::None, I::None, kString},
    {"string", "LODS", 0xac, 2, O::None, I::None, kString},
    {"string", "SCAS", 0xae, 2, O::None, I::None, kString},

    {"stack", "PUSH", 0x50, 8},
    {"stack", "POP", 0x58, 8},
    {"stack", "PUSH", 0x68, 1, O::None, I::Full},
    {"stack", "PUSH", 0x6a, 1, O::None, I::Byte},
    {"stack", "PUSH", 0xff, 1, O::ModRm, I::None, 0, 0, digit(6)},
    {"stack", "POP", 0x8f, 1, O::ModRm, I::None, 0, 0, digit(0)},
    {"stack", "ENTER", 0xc8, 1, O::None, I::WordByte, kLevel | kSeveral},
    {"stack", "LEAVE", 0xc9, 1},
    {"stack", "PUSHA", 0x60, 1, O::None, I::None, kSeveral, 0, kAnyDigit, M::Legacy},
    {"stack", "POPA", 0x61, 1, O::None, I::None, kSeveral | kPartial, 0, kAnyDigit, M::Legacy},
    {"stack", "PUSH ES", 0x06, 1, O::None, I::None, 0, 0, kAnyDigit, M::Legacy},
    {"stack", "PUSH CS", 0x0e, 1, O::None, I::None, 0, 0, kAnyDigit, M::Legacy},
    {"stack", "PUSH SS", 0x16, 1, O::None, I::None, 0, 0, kAnyDigit, M::Legacy},
    {"stack", "PUSH DS", 0x1e, 1, O::None, I::None, 0, 0, kAnyDigit, M::Legacy},
    {"stack", "PUSH FS", 0x0fa0, 1},
    {"stack", "PUSH GS", 0x0fa8, 1},

    {"branch", "J", 0x70, 16, O::None, I::RelByte, kBranch | kReadsFlags},
    {"branch", "J", 0x0f80, 16, O::None, I::RelFull, kBranch | kReadsFlags},
    {"branch", "LOOP", 0xe0, 4, O::None, I::RelByte, kBranch | kReadsFlags},
    {"branch", "CALL", 0xe8, 1, O::None, I::RelFull, kBranch},
    {"branch", "JMP", 0xe9, 1, O::None, I::RelFull, kBranch},
    {"branch", "JMP", 0xeb, 1, O::None, I::RelByte, kBranch},
    {"branch", "RET", 0xc2, 1, O::None, I::Word, kBranch | kFrame},
    {"branch", "RET", 0xc3, 1, O::None, I::None, kBranch | kFrame},
    {"branch", "CALL", 0xff, 1, O::ModRm, I::None, kBranch | kIndirect, 0, digit(2)},
    {"branch", "JMP", 0xff, 1, O::ModRm, I::None, kBranch | kIndirect, 0, digit(4)},

    {"interrupt", "INT3", 0xcc, 1, O::None, I::None, kBranch},
    {"interrupt", "INT", 0xcd, 1, O::None, I::Byte, kBranch | kVector},
    {"interrupt", "INT1", 0xf1, 1, O::None, I::None, kBranch},
    {"interrupt", "INTO", 0xce, 1, O::None, I::None, kReadsFlags, 0, kAnyDigit, M::Legacy},
    {"interrupt", "BOUND", 0x62, 1, O::Memory, I::None, 0, 0, kAnyDigit, M::Legacy},

    {"far", "CALL", 0x9a, 1, O::None, I::Far, kBranch | kSeveral, 0, kAnyDigit, M::Legacy},
    {"far", "JMP", 0xea, 1, O::None, I::Far, kBranch, 0, kAnyDigit, M::Legacy},
    {"far", "RETF", 0xca, 1, O::None, I::Word, kBranch | kFrame | kSeveral},
    {"far", "RETF", 0xcb, 1, O::None, I::None, kBranch | kFrame | kSeveral},
    {"far", "IRET", 0xcf, 1, O::None, I::None, kBranch | kFrame | kLoadsSs | kSeveral},
    {"far", "CALL", 0xff, 1, O::Memory, I::None, kBranch | kPointer | kSeveral, 0, digit(3)},
    {"far", "JMP", 0xff, 1, O::Memory, I::None, kBranch | kPointer, 0, digit(5)},

    {"decimal", "DAA", 0x27, 1, O::None, I::None, kReadsFlags, kOF, kAnyDigit, M::Legacy},
    {"decimal", "DAS", 0x2f, 1, O::None, I::None, kReadsFlags, kOF, kAnyDigit, M::Legacy},
    {"decimal", "AAA", 0x37, 1, O::None, I::None, kReadsFlags, kOF | kSF | kZF | kPF, kAnyDigit, M::Legacy},
    {"decimal", "AAS", 0x3f, 1, O::None, I::None, kReadsFlags, kOF | kSF | kZF | kPF, kAnyDigit, M::Legacy},
    {"decimal", "AAM", 0xd4, 1, O::None, I::Byte, 0, kOF | kAF | kCF, kAnyDigit, M::Legacy},
    {"decimal", "AAD", 0xd5, 1, O::None, I::Byte, 0, kOF | kAF | kCF, kAnyDigit, M::Legacy},
    {"decimal", "SALC", 0xd6, 1, O::None, I::None, kReadsFlags, 0, kAnyDigit, M::Legacy},

    // Segment registers. FS is the host program's own: no row loads it.
    {"segment", "MOV", 0x8c, 1, O::ModRm, I::None, 0, 0, digits(0, 5)},
    {"segment", "MOV ES", 0x8e, 1, O::ModRm, I::None, kSelector, 0, digit(0)},
    {"segment", "MOV SS", 0x8e, 1, O::ModRm, I::None, kSelector | kLoadsSs, 0, digit(2)},
    {"segment", "MOV DS", 0x8e, 1, O::ModRm, I::None, kSelector, 0, digit(3)},
    {"segment", "MOV GS", 0x8e, 1, O::ModRm, I::None, kSelector, 0, digit(5)},
    {"segment", "LES", 0xc4, 1, O::Memory, I::None, kPointer, 0, kAnyDigit, M::Legacy},
    {"segment", "LDS", 0xc5, 1, O::Memory, I::None, kPointer, 0, kAnyDigit, M::Legacy},
    {"segment", "LSS", 0x0fb2, 1, O::Memory, I::None, kPointer | kLoadsSs},
    {"segment", "LGS", 0x0fb5, 1, O::Memory, I::None, kPointer},
    {"segment", "POP ES", 0x07, 1, O::None, I::None, kFrame, 0, kAnyDigit, M::Legacy},
    {"segment", "POP SS", 0x17, 1, O::None, I::None, kFrame | kLoadsSs, 0, kAnyDigit, M::Legacy},
    {"segment", "POP DS", 0x1f, 1, O::None, I::None, kFrame, 0, kAnyDigit, M::Legacy},
    {"segment", "POP GS", 0x0fa9, 1, O::None, I::None, kFrame},
    {"segment", "VERR", 0x0f00, 1, O::ModRm, I::None, kSelector, 0, digits(4, 5)},
    {"segment", "LAR", 0x0f02, 1, O::ModRm, I::None, kSelector},
    {"segment", "LSL", 0x0f03, 1, O::ModRm, I::None, kSelector},
    {"segment", "ARPL", 0x63, 1, O::ModRm, I::None, 0, 0, kAnyDigit, M::Legacy},

    // What user mode may not do: #GP. SLDT, STR, SGDT, SIDT and SMSW are left out: Linux emulates them.
    {"privileged", "INS", 0x6c, 4, O::None, I::None, kString},
    {"privileged", "IN", 0xe4, 4, O::None, I::Byte},
    {"privileged", "IN", 0xec, 4},
    {"privileged", "HLT", 0xf4, 1},
    {"privileged", "CLI", 0xfa, 2},
    {"privileged", "LLDT", 0x0f00, 1, O::ModRm, I::None, kSelector, 0, digits(2, 3)},
    {"privileged", "LGDT", 0x0f01, 1, O::Memory, I::None, 0, 0, digits(2, 3)},
    {"privileged", "LMSW", 0x0f01, 1, O::Memory, I::None, 0, 0, digits(6, 7)},
    {"privileged", "CLTS", 0x0f06, 1},
    {"privileged", "SYSRET", 0x0f07, 1},
    {"privileged", "INVD", 0x0f08, 2},
    {"privileged", "MOV CR", 0x0f20, 1, O::ModRm},
    {"privileged", "MOV DR", 0x0f21, 1, O::ModRm},
    {"privileged", "MOV CR", 0x0f22, 1, O::ModRm},
    {"privileged", "MOV DR", 0x0f23, 1, O::ModRm},
    {"privileged", "WRMSR", 0x0f30, 1},
    {"privileged", "RDMSR", 0x0f32, 1},
    {"privileged", "SYSEXIT", 0x0f35, 1},

    {"hint", "PREFETCH", 0x0f0d, 1, O::ModRm},
    {"hint", "NOP", 0x0f18, 8, O::ModRm},
    {"hint", "FENCE", 0x0fae, 1, O::Register, I::None, 0, 0, digits(5, 7), M::All, P::None},
    {"hint", "CLFLUSH", 0x0fae, 1, O::Memory, I::None, 0, 0, digit(7), M::All, P::None},

    // #UD
    {"invalid", "UD2", 0x0f0b, 1},
    {"invalid", "UD1", 0x0fb9, 1, O::ModRm},
    {"invalid", "UD0", 0x0fff, 1, O::ModRm},
    {"invalid", "0F 04", 0x0f04, 1},
    {"invalid", "0F 0A", 0x0f0a, 1},
    {"invalid", "0F 0C", 0x0f0c, 1},
    {"invalid", "MOV TR", 0x0f24, 4},
    {"invalid", "0F 36", 0x0f36, 1},
    {"invalid", "0F 39", 0x0f39, 1},
    {"invalid", "0F 3B", 0x0f3b, 5},
    {"invalid", "0F 7A", 0x0f7a, 2, O::ModRm},
    {"invalid", "0F A6", 0x0fa6, 2},
    {"invalid", "RSM", 0x0faa, 1},
    {"invalid", "LEA", 0x8d, 1, O::Register},
    {"invalid", "MOV sreg", 0x8c, 1, O::ModRm, I::None, 0, 0, digits(6, 7)},
    {"invalid", "MOV sreg", 0x8e, 1, O::ModRm, I::None, 0, 0, digit(1) | digits(6, 7)},
    {"invalid", "8F", 0x8f, 1, O::ModRm, I::None, 0, 0, digits(1, 7)},
    {"invalid", "C6", 0xc6, 2, O::ModRm, I::None, 0, 0, digits(1, 6)},
    {"invalid", "FE", 0xfe, 1, O::ModRm, I::None, 0, 0, digits(2, 7)},
    {"invalid", "FF", 0xff, 1, O::Register, I::None, 0, 0, digit(3) | digit(5)},
    {"invalid", "FF", 0xff, 1, O::ModRm, I::None, 0, 0, digit(7)},
    {"invalid", "0F BA", 0x0fba, 1, O::ModRm, I::None, 0, 0, digits(0, 3)},
    {"invalid", "LSS", 0x0fb2, 1, O::Register},
    {"invalid", "LFS", 0x0fb4, 2, O::Register},
    {"invalid", "MOVNTI", 0x0fc3, 1, O::Register},
    {"invalid", "CMPXCHG8B", 0x0fc7, 1, O::Register, I::None, 0, 0, digits(0, 5)},
    {"invalid", "PUSH ES", 0x06, 2, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "PUSH CS", 0x0e, 1, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "PUSH SS", 0x16, 2, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "PUSH DS", 0x1e, 2, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "DAA", 0x27, 1, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "DAS", 0x2f, 1, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "AAA", 0x37, 1, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "AAS", 0x3f, 1, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "PUSHA", 0x60, 2, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "82", 0x82, 1, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "CALL", 0x9a, 1, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "INTO", 0xce, 1, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "AAM", 0xd4, 1, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "SALC", 0xd6, 1, O::None, I::None, 0, 0, kAnyDigit, M::Long},
    {"invalid", "JMP", 0xea, 1, O::None, I::None, 0, 0, kAnyDigit, M::Long},
};

std::vector<Row> build() {
  std::vector<Row> rows(std::begin(kRows), std::end(kRows));
  constexpr const char* kNames[] = {"ADD", "OR", "ADC", "SBB", "AND", "SUB", "XOR", "CMP"};
  for (unsigned i = 0; i < 8; i++) {
    const char* name = kNames[i];
    const auto opcode = static_cast<uint16_t>(i * 8);
    const bool logical = i == 1 || i == 4 || i == 6;
    const uint64_t undefined = logical ? kAF : 0;
    uint32_t traits = i == 7 ? 0u : kLockable;
    if (i == 2 || i == 3) traits |= kReadsFlags;
    rows.push_back({"alu", name, opcode, 4, O::ModRm, I::None, traits, undefined});
    rows.push_back({"alu", name, static_cast<uint16_t>(opcode + 4), 1, O::None, I::Byte, traits, undefined});
    rows.push_back({"alu", name, static_cast<uint16_t>(opcode + 5), 1, O::None, I::Full, traits, undefined});
    rows.push_back({"alu", name, 0x80, 1, O::ModRm, I::Byte, traits, undefined, digit(i)});
    rows.push_back({"alu", name, 0x81, 1, O::ModRm, I::Full, traits, undefined, digit(i)});
    rows.push_back({"alu", name, 0x82, 1, O::ModRm, I::Byte, traits, undefined, digit(i), M::Legacy});
    rows.push_back({"alu", name, 0x83, 1, O::ModRm, I::Byte, traits, undefined, digit(i)});
  }
  appendFloatRows(rows);
  return rows;
}

// The rows of each opcode of the four maps.
using Index = std::array<std::vector<const Row*>, 4 * 256>;

constexpr unsigned place(unsigned opcode) {
  const unsigned map = opcode >> 8;
  return (opcode & 0xff) | (map == 0x0f ? 0x100 : map == 0x38 ? 0x200 : map == 0x3a ? 0x300 : 0);
}

Index buildIndex() {
  Index index;
  for (const Row& row : table())
    for (unsigned i = 0; i < row.count; i++) index[place(row.opcode + i)].push_back(&row);
  return index;
}

unsigned immediateLength(const Row& row, unsigned operandSize, unsigned addressSize) {
  const unsigned full = operandSize == 2 ? 2 : 4;
  unsigned length = row.operand == O::Offset ? addressSize : 0;
  switch (row.immediate) {
    case I::None: return length;
    case I::Byte:
    case I::RelByte: return 1;
    case I::Word: return 2;
    case I::WordByte: return 3;
    case I::RelFull:
    case I::Full: return full;
    case I::Whole: return operandSize;
    case I::Far: return full + 2;
  }
  return length;
}

// SIB and displacement.
unsigned addressLength(uint8_t modrm, uint8_t sib, unsigned addressSize) {
  const unsigned mod = modrm >> 6, rm = modrm & 7;
  if (mod == 3) return 0;
  if (addressSize == 2) return mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0;
  const unsigned base = rm == 4 ? sib & 7 : rm;
  return (rm == 4 ? 1 : 0) + (mod == 1 ? 1 : mod == 2 || base == 5 ? 4 : 0);
}

bool matches(const Row& row, unsigned bits, uint8_t modrm, bool operand16, uint8_t repeat, bool vex) {
  if (!row.in(bits) || static_cast<bool>(row.traits & kVex) != vex) return false;
  if (row.operand != O::None && row.operand != O::Offset) {
    const bool reg = modrm >> 6 == 3;
    if (row.operand == O::Memory ? reg : row.operand == O::Register && !reg) return false;
    if (!(row.digits >> (modrm >> 3 & 7) & 1)) return false;
    if (reg && !(row.rms >> (modrm & 7) & 1)) return false;
  }
  switch (row.prefix) {
    case P::Any: return true;
    case P::F3: return repeat == 0xf3;
    case P::F2: return repeat == 0xf2;
    case P::P66: return repeat == 0 && operand16;
    case P::NotF3: return repeat != 0xf3;
    case P::NoRepeat: return repeat == 0;
    case P::None: return repeat == 0 && !operand16;
  }
  return false;
}

// SYSCALL, SYSENTER and INT 80 enter the kernel.
bool entersKernel(const uint8_t* code) {
  return (code[0] == 0x0f && (code[1] == 0x05 || code[1] == 0x34)) || (code[0] == 0xcd && code[1] == 0x80);
}

}  // namespace

const std::vector<Row>& table() {
  static const std::vector<Row> rows = build();
  return rows;
}

Decoded decode(const uint8_t* code, unsigned length, unsigned bits) {
  static const Index index = buildIndex();
  auto byte = [&](unsigned i) -> uint8_t { return i < length ? code[i] : 0xcc; };
  Decoded d = {};
  unsigned i = 0;
  bool operand16 = false, address = false;
  uint8_t repeat = 0, rex = 0;
  for (; i < 15; i++) {
    const uint8_t b = byte(i);
    if (bits == 64 && (b & 0xf0) == 0x40) {
      rex = b;
      continue;
    }
    if (b == 0x66)
      operand16 = true;
    else if (b == 0x67)
      address = true;
    else if (b == 0xf2 || b == 0xf3)
      repeat = b;
    else if (b == 0x64)
      d.fsOverride = true;
    else if (b != 0xf0 && b != 0x26 && b != 0x2e && b != 0x36 && b != 0x3e && b != 0x65)
      break;
    rex = 0;  // only the byte before the opcode counts
  }
  d.operandSize = rex & 8 ? 8 : operand16 != (bits == 16) ? 2 : 4;
  d.addressSize = static_cast<uint8_t>(bits == 64 ? (address ? 4 : 8) : (bits == 16) != address ? 2 : 4);
  unsigned opcode = byte(i++);
  if (opcode == 0x0f) opcode = 0x0f00 | byte(i++);
  if (opcode == 0x0f38 || opcode == 0x0f3a) opcode = (opcode & 0xff) << 8 | byte(i++);
  if (opcode == 0xc4 && (bits == 64 || byte(i) >= 0xc0)) {  // VEX of three bytes: the shorter one has no map but 0F
    d.vex = true;
    constexpr uint8_t kRepeat[] = {0, 0, 0xf3, 0xf2};
    constexpr unsigned kMaps[] = {0, 0x0f00, 0x3800, 0x3a00};
    const unsigned map = byte(i) & 31;
    operand16 = (byte(i + 1) & 3) == 1;
    repeat = kRepeat[byte(i + 1) & 3];
    d.operandSize = byte(i + 1) & 0x80 && bits == 64 ? 8 : 4;
    opcode = (map < 4 ? kMaps[map] : 0) | byte(i + 2);
    i += 3;
  }
  d.modrm = byte(i);
  for (const Row* row : index[place(opcode)]) {
    if (!matches(*row, bits, d.modrm, operand16, repeat, d.vex)) continue;
    d.row = row;
    if (row->operand != O::None && row->operand != O::Offset) {
      i++;
      i += addressLength(d.modrm, byte(i), d.addressSize);
    }
    d.immediate = byte(i);
    i += immediateLength(*row, d.operandSize, d.addressSize);
    break;
  }
  d.length = static_cast<uint8_t>(i);
  return d;
}

Undefined undefinedAfter(const Case& c, unsigned executed) {
  Undefined result = {};
  for (unsigned at = 0; at < executed;) {
    const Decoded d = decode(c.code + at, c.length - at, c.bits);
    if (!d.row) break;
    const Row& row = *d.row;
    result.flags |= row.undefined;
    result.traits |= row.traits;
    if (row.traits & (kShift | kRotate | kDoubleShift)) {
      const bool one = row.opcode == 0xd0 || row.opcode == 0xd1;
      const bool byCl = !one && row.immediate == I::None;
      const unsigned mask = d.operandSize == 8 && !(row.traits & kByteSize) ? 63 : 31;
      const unsigned size = row.traits & kByteSize ? 8 : d.operandSize * 8;
      const unsigned count = one ? 1 : (byCl ? static_cast<unsigned>(c.gpr[Gpr::RCX]) : d.immediate) & mask;
      const bool unknown = byCl && at != 0;  // CL may have changed
      if (unknown || count > 1) result.flags |= kOF;
      if (!(row.traits & kRotate) && (unknown || count != 0)) result.flags |= kAF;
      if (row.traits & kShift && (d.modrm >> 3 & 7) != 7 && (unknown || count >= size)) result.flags |= kCF;
      if (row.traits & kDoubleShift && ((unknown && size == 16) || count > size)) {
        result.flags |= kArithmeticFlags;
        result.result = true;
      }
    }
    if (row.opcode == 0x0fc8 && d.operandSize == 2) result.result = true;  // BSWAP r16
    at += d.length;
    if (c.singleStep) break;
  }
  return result;
}

bool admissible(const Case& c) {
  for (unsigned at = 0; at < c.length;) {
    const Decoded d = decode(c.code + at, c.length - at, c.bits);
    if (!d.row || (d.fsOverride && c.bits == 64)) return false;
    // Of the state components only those of the models; no instruction before may change the choice.
    if (d.row->traits & kComponents && (at != 0 || c.gpr[Gpr::RAX] & foreignComponents())) return false;
    // A single-stepped load of SS runs two instructions, and a single-stepped branch stops before its target.
    if (c.singleStep) return !(d.row->traits & kLoadsSs) && !entersKernel(c.code + at + d.length - 2);
    at += d.length;
  }
  for (unsigned at = 0; at + 1 < c.length; at++)
    if (entersKernel(c.code + at)) return false;
  return true;
}

}  // namespace nvmm::oracle
