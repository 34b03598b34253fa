// What two processors made of one case, side by side.
#pragma once

#include <string>
#include <vector>

#include "oracle_case.h"

namespace nvmm::oracle {

struct Difference {
  std::string field;
  std::string native, guest;
};

struct Comparison {
  std::vector<Difference> differences;
  uint64_t undefinedFlags = 0;   // those that differ although they may
  bool undefinedResult = false;  // the result of the instruction is undefined, and differs
};

Comparison compare(const Case& c, const Memory& initial, const Outcome& native, const Outcome& guest);

std::string hex(uint64_t value);
std::string flagNames(uint64_t rflags);

}  // namespace nvmm::oracle
