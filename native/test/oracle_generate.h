// Random cases, each a function of the seed and its number alone.
#pragma once

#include <string>

#include "oracle_case.h"

namespace nvmm::oracle {

struct Plan {
  uint64_t seed = 1;
  unsigned bits = 64;
  std::string family;  // only this one; empty: all
  bool localSegments = true;
  bool wideFrom16 = true;  // far transfers from 16-bit to 64-bit code
};

// The contents that the data and stack pages have before each case.
Memory initialMemory(uint64_t seed);

// Case number `index`; `family` becomes what it was made from: a family of the table, or "bytes" and "mutated".
Case generate(const Plan& plan, uint64_t index, const char*& family);

// Where the memory operand of a case made by generateFor() is to be.
constexpr uint64_t kOperand = kData + kPage + 0x100;

// The `index`th random state around an instruction of the caller's, which is single.
Case generateFor(const Plan& plan, uint64_t index, const uint8_t* code, unsigned length);

bool knownFamily(const std::string& family, unsigned bits);

}  // namespace nvmm::oracle
