#include "block_cache.h"

#include <algorithm>
#include <cstring>

#include "handlers.h"

namespace nvmm::cpu {
namespace {

// The granules of `size` bytes at `host`, all in one page: first half or second half of the page's bits.
uint64_t granuleBits(const uint8_t* host, unsigned size, unsigned half) {
  unsigned offset = reinterpret_cast<uintptr_t>(host) & 0xfff;
  unsigned first = offset >> 5, last = (offset + size - 1) >> 5;
  uint64_t bits = 0;
  for (unsigned i = first; i <= last; ++i) {
    if (i >> 6 == half) bits |= uint64_t{1} << (i & 63);
  }
  return bits;
}

bool overlaps(const uint8_t* a, unsigned aSize, const uint8_t* b, unsigned bSize) {
  return a < b + bSize && b < a + aSize;
}

}  // namespace

void* BlockCache::allocate(size_t size) {
  size = (size + 15) & ~size_t{15};
  if (used_ + size > kChunk) {
    if (chunks_.size() == kChunks) return nullptr;
    chunks_.emplace_back(new uint8_t[kChunk]);
    used_ = 0;
  }
  void* at = chunks_.back().get() + used_;
  used_ += size;
  return at;
}

// Records that the block has code in the page of `host`.
void BlockCache::enter(Block* block, const uint8_t* host, unsigned size) {
  CodePage& page = pages_[pageOf(host)];
  mayHoldCode_[filter(host)] = true;
  for (unsigned half = 0; half < 2; ++half) page.granules[half] |= granuleBits(host, size, half);
  page.blocks.push_back(block);
}

void BlockCache::link(Block* block) {
  Block*& head = buckets_[bucket(block->rip, block->host)];
  block->collision = head;
  head = block;
}

void BlockCache::grow() {
  std::vector<Block*> old(2 * buckets_.size());
  old.swap(buckets_);
  for (Block* block : old) {
    while (block) {
      Block* following = block->collision;
      link(block);
      block = following;
    }
  }
}

Block* BlockCache::add(const Block& block) {
  size_t insns = (block.count + 1u) * sizeof(Insn);
  const size_t bytes = (block.length + alignof(Insn) - 1) & ~(alignof(Insn) - 1);
  auto* copy = static_cast<Block*>(allocate(sizeof(Block) + insns + bytes));
  if (!copy) return nullptr;
  *copy = block;
  // The bytes come first, beside the block's fields, with which they are looked at.
  copy->bytes = reinterpret_cast<uint8_t*>(copy + 1);
  copy->insns = reinterpret_cast<Insn*>(copy->bytes + bytes);
  memcpy(copy->insns, block.insns, insns);
  memcpy(copy->bytes, block.bytes, block.length);
  enter(copy, copy->host, copy->firstBytes);
  if (copy->length > copy->firstBytes) enter(copy, copy->host2, copy->length - copy->firstBytes);
  if (++count_ > buckets_.size()) grow();
  link(copy);
  return copy;
}

void BlockCache::remove(Block* block) {
  Block** found = &buckets_[bucket(block->rip, block->host)];
  while (*found != block) found = &(*found)->collision;
  *found = block->collision;
  --count_;
  for (const uint8_t* host : {block->host, block->host2}) {
    auto page = host ? pages_.find(pageOf(host)) : pages_.end();
    if (page == pages_.end()) continue;
    std::vector<Block*>& blocks = page->second.blocks;
    blocks.erase(std::remove(blocks.begin(), blocks.end(), block), blocks.end());
  }
  block->host = block->host2 = nullptr;
  block->stamp = 0;
  for (unsigned i = 0; i < block->count; ++i) block->insns[i].handler = leaveBlock;
}

void BlockCache::clear() {
  std::fill(buckets_.begin(), buckets_.end(), nullptr);
  count_ = 0;
  chunks_.clear();
  used_ = kChunk;
  pages_.clear();
  mayHoldCode_.fill(false);
}

void BlockCache::overwritten(const uint8_t* host, unsigned size) {
  auto found = pages_.find(pageOf(host));
  if (found == pages_.end()) return;
  CodePage& page = found->second;
  bool hit = false;
  for (unsigned half = 0; half < 2; ++half) hit |= (page.granules[half] & granuleBits(host, size, half)) != 0;
  bool giveUp = !hit && ++page.misses == kMisses;
  if (!hit && !giveUp) return;
  std::vector<Block*> blocks = page.blocks;
  page.granules[0] = page.granules[1] = 0;
  for (Block* block : blocks) {
    if (!block->host) continue;  // it was here twice
    unsigned rest = block->length - block->firstBytes;
    bool first = pageOf(block->host) == found->first;
    const uint8_t* at = first ? block->host : block->host2;
    unsigned length = first ? block->firstBytes : rest;
    if (giveUp || overlaps(at, length, host, size)) {
      remove(block);
    } else {
      for (unsigned half = 0; half < 2; ++half) page.granules[half] |= granuleBits(at, length, half);
    }
  }
  if (page.blocks.empty()) pages_.erase(found);
}

}  // namespace nvmm::cpu
