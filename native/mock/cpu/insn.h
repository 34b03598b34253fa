// A decoded instruction, and the blocks they are kept in.
#pragma once

#include <cstdint>

namespace nvmm::cpu {

class Core;
struct Block;
struct Insn;

// Executes one instruction, and says which is next: null leaves the block. Ends with one of next(), leave(), jump(),
// stop() (core.h), which keep RIP and the count of instructions.
using Handler = const Insn* (*)(Core&, const Insn*);

constexpr uint8_t kNoRegister = 16;

struct Insn {
  Handler handler;
  union {
    uint64_t disp;  // of the memory operand; RIP is already added in RIP-relative ones
    Block* link;    // of a relative branch: the block it led to at last
  };
  uint64_t imm;       // sign-extended to 64 bits; the target of a relative branch, cut to the operand size
  uint16_t offset;    // of the first byte from the start of the block
  uint16_t selector;  // the second immediate of ENTER (its first) and of far JMP and CALL
  uint8_t length;
  uint8_t number;  // instructions before it in the block
  // Registers are numbers 0..15; those of byte operands are offsets into State::gpr, so that AH is 1. `reg` is
  // ModRM.reg, or the register that is a part of the opcode; a segment, control or debug register where the operand is
  // one.
  uint8_t reg, rm;
  uint8_t base, index, scale;  // kNoRegister: none
  uint8_t segment;             // of the memory operand
  uint8_t operandSize;         // in bytes
  uint8_t addressSize;         // in bytes
  uint8_t opcode;              // the last byte of it
  uint8_t repeat;              // 0, 0xf2 or 0xf3
  bool memory;                 // the operand E is in memory
  bool lock;
  bool rex;      // has a REX prefix
  uint8_t vvvv;  // second source of VEX encodings

  uint64_t addressMask() const { return ~uint64_t{0} >> (64 - 8 * addressSize); }
};

// Straight-line code that was decoded once. The last Insn is followed by one whose handler leaves the block.
struct Block {
  uint64_t rip;
  const uint8_t* host;  // of its first byte; null: the block must not be used any more
  uint64_t stamp;       // Core::stamp of the last validation
  uint64_t epoch;       // Core::epoch of the last comparison of the bytes
  uint8_t mode;         // Core::mode that it was decoded for
  uint8_t count;        // of instructions
  uint16_t length;      // of its bytes
  uint16_t firstBytes;  // as many of them are at `host`; the others at `host2`, the start of another page
  const uint8_t* host2;
  Block* collision;  // next in the bucket of the hash table
  Insn* insns;       // count + 1
  uint8_t* bytes;    // copy of its code

  bool is(uint64_t atRip, const uint8_t* atHost, uint8_t inMode) const {
    return host == atHost && rip == atRip && mode == inMode;
  }
};

}  // namespace nvmm::cpu
