// The instructions that user mode can execute, one row for a form: what the generator builds encodings from, and what
// tells of any bytes which flags they leave undefined. Bytes that no row describes are not executed by the oracle.
#pragma once

#include <cstdint>
#include <vector>

#include "oracle_case.h"

namespace nvmm::oracle {

enum class Modes : uint8_t { All, Legacy, Long };

enum class Prefix : uint8_t { Any, F3, F2, P66, NotF3, NoRepeat, None };  // which of 66, F2 and F3 there has to be

enum class Operand : uint8_t {
  None,
  ModRm,
  Memory,    // ModRM with mod != 3
  Register,  // ModRM with mod == 3
  Offset,    // MOV AL, moffs
};

enum class Immediate : uint8_t {
  None,
  Byte,
  Word,
  WordByte,  // ENTER
  Full,      // of the operand's size, at most 32 bits
  Whole,     // of the operand's size: MOV r64, imm64
  RelByte,
  RelFull,
  Far,
};

// What the generator must know, and which flags are undefined for some counts only.
enum Trait : uint32_t {
  kByteSize = 1 << 0,
  kReadsFlags = 1 << 1,
  kLockable = 1 << 2,
  kString = 1 << 3,
  kBranch = 1 << 4,     // ends a sequence
  kIndirect = 1 << 5,   // the operand is a near branch target
  kPointer = 1 << 6,    // the operand is a far pointer
  kFrame = 1 << 7,      // the stack holds branch targets, selectors and flags
  kSelector = 1 << 8,   // the operand is a selector
  kBitOffset = 1 << 9,  // the register operand displaces the memory operand
  kDivide = 1 << 10,
  kCompare = 1 << 11,  // RDX:RAX is compared with the operand
  kTable = 1 << 12,    // XLAT
  kShift = 1 << 13,    // shifts: see undefinedFlags()
  kRotate = 1 << 14,
  kDoubleShift = 1 << 15,
  kLoadsSs = 1 << 16,      // delays the trap of TF
  kVector = 1 << 17,       // the immediate is an interrupt vector
  kLevel = 1 << 18,        // the immediate is a nesting level
  kSeveral = 1 << 19,      // makes several accesses to memory
  kPartial = 1 << 20,      // may have changed registers when it faults
  kFloat = 1 << 21,        // x87, MMX and SSE: with random contents of their registers
  kAligned = 1 << 22,      // the memory operand has to be aligned to 16 bytes
  kMaskMove = 1 << 23,     // stores at DS:RDI
  kApproximate = 1 << 24,  // x87 results within some units in the last place
  kEstimate = 1 << 25,     // RCP and RSQRT: within 1.5 * 2^-12
  kVex = 1 << 27,          // VEX-encoded, on general registers: VEX.vvvv is an operand
  kSums = 1 << 26,         // DPPS, DPPD: which of several NaNs is the result depends on the order of the additions
  kArea = 1 << 28,         // the operand is an area of FXRSTOR or XRSTOR, or becomes one
  kComponents = 1 << 29,   // EDX:EAX asks for state components
  kTwoReads = 1 << 30,     // reads two operands: fast short REPE CMPSB begins with the other one than CMPS elsewhere
};

constexpr uint8_t kAnyDigit = 0xff;

// In Row::undefined and Undefined::flags: FSW above RFLAGS.
constexpr unsigned kFswShift = 32;
constexpr uint64_t fsw(uint16_t bits) { return uint64_t{bits} << kFswShift; }

struct Row {
  const char* family;
  const char* name;
  uint16_t opcode;  // 0f00, 3800 and 3a00 are added for the maps 0F, 0F38 and 0F3A
  uint8_t count;    // consecutive opcodes of one form
  Operand operand = Operand::None;
  Immediate immediate = Immediate::None;
  uint32_t traits = 0;
  uint64_t undefined = 0;      // flags, and the x87's condition codes
  uint8_t digits = kAnyDigit;  // a bit for each ModRM.reg
  Modes modes = Modes::All;
  Prefix prefix = Prefix::Any;
  uint8_t rms = kAnyDigit;  // the same for ModRM.rm, of a register operand

  bool in(unsigned bits) const { return modes == Modes::All || (modes == Modes::Long) == (bits == 64); }
};

const std::vector<Row>& table();
void appendFloatRows(std::vector<Row>& rows);  // x87, MMX, SSE, SSE2 (oracle_table_float.cc)

// An instruction taken apart as far as the rows need it.
struct Decoded {
  const Row* row;  // null: none describes it
  uint8_t length;
  uint8_t operandSize, addressSize;  // in bytes
  uint8_t modrm;
  bool vex;
  uint8_t immediate;  // its first byte
  bool fsOverride;
};
Decoded decode(const uint8_t* code, unsigned length, unsigned bits);

// The flags that the first `executed` bytes of the code may leave undefined, and whether a result is undefined too.
struct Undefined {
  uint64_t flags;
  uint32_t traits;  // of all the instructions
  bool result;
};
Undefined undefinedAfter(const Case& c, unsigned executed);

// Whether the code of a case may be executed: nothing in it enters the kernel but by an exception, changes what the
// executor lives on, or gives results that differ from run to run.
bool admissible(const Case& c);

}  // namespace nvmm::oracle
