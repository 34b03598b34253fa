// The opcode table: every instruction that this CPU knows, declared once. The decoder reads it; so can documentation,
// tests and statistics.
#pragma once

#include <cstdint>

#include "handlers.h"

namespace nvmm::cpu {

enum class Map : uint8_t { OneByte, TwoByte, Map38, Map3A };  // no escape, 0F, 0F 38, 0F 3A

// Mandatory prefix of a row, as VEX.pp counts them.
enum class Prefix : uint8_t { None, P66, F3, F2, Any };

// Attributes of a row
constexpr uint16_t kNo64 = 1;           // #UD in 64-bit mode
constexpr uint16_t kOnly64 = 2;         // #UD outside it
constexpr uint16_t kDefault64 = 4;      // operand size 64 in 64-bit mode, and no 32
constexpr uint16_t kNear = 8;           // with kDefault64: Intel's processors ignore 66 as well
constexpr uint16_t kProtected = 16;     // #UD in real and virtual-8086 mode
constexpr uint16_t kEnd = 32;           // nothing behind it is worth decoding: the block ends
constexpr uint16_t kLoadsSegment = 64;  // ModRM.reg is a segment register to load: not CS
constexpr uint16_t kVex = 128;          // VEX-encoded; VEX.L must be 0
constexpr uint16_t kLock = 256;         // LOCK is allowed (Variants tell by their third column)
constexpr uint16_t kNoRexB = 1024;      // on AMD's processors REX.B makes it the next row
constexpr uint16_t kRegisterMod = 512;  // ModRM.mod is ignored: the operand is always a register

enum class Register : uint8_t { None, Gpr, Segment, Control, Debug };  // what ModRM.reg names

// What the operands' notation (that of the manuals) means for the decoder.
struct Form {
  bool modrm = false;
  bool memoryOnly = false, registerOnly = false;
  bool inOpcode = false;         // Z: a register in the low three bits of the opcode
  bool segmentInOpcode = false;  // s: a segment register in bits 3..5
  bool offset = false;           // O: an absolute address
  bool relative = false;         // J
  bool simd = false;             // P, Q, V, W, N, U: the Variants are by mandatory prefix
  bool vexSource = false;        // B: VEX.vvvv
  Register reg = Register::None;
  bool byteReg = false, byteRm = false;
  char size = 0;           // of the operation: b w d q v z y
  char immediate[2] = {};  // their sizes, in the order of the bytes

  constexpr explicit Form(const char* operands) {
    unsigned immediates = 0;
    for (const char* p = operands; *p; ++p) {
      char kind = *p++;
      char width = *p;
      bool fixed = (width >= 'A' && width <= 'Z') || kind == '1';  // AL, CL, DX, rAX, eAX, 1
      if (kind == '1') --p;
      switch (kind) {
        case 'E':
        case 'M':
        case 'R':
          modrm = true;
          memoryOnly = kind == 'M';
          registerOnly = kind == 'R';
          byteRm = width == 'b';
          break;
        case 'G':
        case 'S': modrm = true, reg = kind == 'G' ? Register::Gpr : Register::Segment, byteReg = width == 'b'; break;
        case 'D':
          if (!fixed) modrm = true, reg = Register::Debug;
          break;
        case 'C':
          if (!fixed) modrm = true, reg = Register::Control;
          break;
        case 'F': modrm = registerOnly = true, width = 0; break;  // Fi: ST(i), F0: ST
        case 'P':
        case 'V': modrm = simd = true, width = 0; break;  // an MMX or XMM register: ModRM.reg
        case 'Q':
        case 'W':
        case 'N':
        case 'U':
          modrm = simd = true;
          registerOnly = kind == 'N' || kind == 'U';
          width = 0;
          break;
        case 'Z': inOpcode = true, byteReg = width == 'b'; break;
        case 's': segmentInOpcode = true; break;
        case 'O': offset = true; break;
        case 'B': vexSource = true; break;
        case 'J':
          relative = true;
          immediate[immediates++] = width;
          width = 0;
          break;
        case 'A':
          if (!fixed) immediate[0] = 'z', immediate[1] = 'w', width = 'z';
          break;
        case 'I':
          immediate[immediates++] = width;
          width = 0;
          break;
        default: break;
      }
      if (fixed) {
        width = kind == 'r' ? 'v' : kind == 'e' ? 'z' : width == 'L' ? 'b' : 0;
      }
      if (!size && width >= 'a') size = width;
      while (*p && *p != ',') ++p;
      if (!*p) break;
    }
  }
};

struct Execute {
  const Variants* variants = nullptr;
  Handler handler = nullptr;
  constexpr Execute(const Variants& v) : variants(&v) {}
  constexpr Execute(Handler h) : handler(h) {}
};

constexpr int16_t kNone = -1;

struct Opcode {
  Map map;
  uint8_t opcode;
  Prefix prefix;
  int16_t extension;  // ModRM.reg, where that extends the opcode
  int16_t modrm;      // the whole ModRM byte, where that does
  bool rexW;          // only with REX.W
  const char* mnemonic;
  const char* operands;
  Execute execute;
  uint16_t attributes;
  Form form;

  constexpr Opcode prefixed(Prefix with) const {
    Opcode copy = *this;
    copy.prefix = with;
    return copy;
  }
  constexpr Opcode ext(uint8_t reg) const {
    Opcode copy = *this;
    copy.extension = reg;
    copy.form.modrm = true;
    return copy;
  }
  constexpr Opcode byte(uint8_t value) const {
    Opcode copy = *this;
    copy.modrm = value;
    copy.form.modrm = true;
    return copy;
  }
  constexpr Opcode wide() const {
    Opcode copy = *this;
    copy.rexW = true;
    return copy;
  }
};

struct OpcodeRange {
  const Opcode* first;
  const Opcode* last;
};

OpcodeRange opcodes();
// The rows of one opcode. In the order of the table; the first that fits is meant.
OpcodeRange opcodes(Map map, uint8_t opcode);

}  // namespace nvmm::cpu
