// The decoded blocks, found by where their bytes are in the host's memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "insn.h"

namespace nvmm::cpu {

class BlockCache {
 public:
  BlockCache() : buckets_(kFirstBuckets) {}

  Block* find(uint64_t rip, const uint8_t* host, uint8_t mode) const {
    Block* block = buckets_[bucket(rip, host)];
    while (block && !block->is(rip, host, mode)) block = block->collision;
    return block;
  }
  // A copy of `block`, whose insns and bytes may lie anywhere. Null: there is no room, call clear().
  Block* add(const Block& block);
  void remove(Block* block);  // ends after its current instruction, if it is executing
  void clear();

  // A block that is never valid: where a link leads that does not lead anywhere yet.
  static Block* none() {
    static Block block{};
    return &block;
  }

  // The page (of any byte in it) has code in the cache: stores to it must call overwritten().
  bool holdsCode(const uint8_t* host) const { return mayHoldCode_[filter(host)] && pages_.count(pageOf(host)); }
  // Forgets the blocks that were decoded from these bytes of one page.
  void overwritten(const uint8_t* host, unsigned size);

 private:
  static constexpr size_t kFirstBuckets = 1 << 10;  // doubled as the blocks become more
  static constexpr size_t kChunk = 1 << 20, kChunks = 24;
  // A page in which so many writes have hit no code is given up as a page of code: its stores become fast again.
  static constexpr unsigned kMisses = 256;

  struct CodePage {
    uint64_t granules[2] = {};  // one bit for 32 bytes: some block has code there
    unsigned misses = 0;
    std::vector<Block*> blocks;
  };

  static const uint8_t* pageOf(const uint8_t* host) { return host - (reinterpret_cast<uintptr_t>(host) & 0xfff); }
  size_t bucket(uint64_t rip, const uint8_t* host) const {
    return (rip ^ reinterpret_cast<uintptr_t>(host) >> 12) & (buckets_.size() - 1);
  }
  static size_t filter(const uint8_t* host) {
    const uintptr_t page = reinterpret_cast<uintptr_t>(host) >> 12;
    return (page ^ page >> 12) & (kFilter - 1);
  }
  void* allocate(size_t size);
  void link(Block* block);
  void grow();
  void enter(Block* block, const uint8_t* host, unsigned size);

  std::vector<Block*> buckets_;
  size_t count_ = 0;
  std::vector<std::unique_ptr<uint8_t[]>> chunks_;
  size_t used_ = kChunk;  // of the last chunk
  std::unordered_map<const uint8_t*, CodePage> pages_;
  static constexpr size_t kFilter = 1 << 12;
  std::array<bool, kFilter> mayHoldCode_{};  // by filter(): most pages have none, and their stores need no search
};

}  // namespace nvmm::cpu
