#include "kicker.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "objects.h"

namespace nvmm {

namespace {

constexpr auto kBetweenKicks = std::chrono::milliseconds(1);
constexpr auto kBetweenLooks = std::chrono::milliseconds(50);

}  // namespace

// Never destroyed: its thread may outlast the static objects of a process that exits.
Kicker& Kicker::instance() {
  static auto* kicker = new Kicker();
  return *kicker;
}

void Kicker::wakeUp() {
  if (!started_) {
    started_ = true;
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    std::thread([this] { loop(); }).detach();
    pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  }
  wake_.notify_one();
}

void Kicker::forgetDead() {
  entries_.erase(
      std::remove_if(entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.vcpu.expired(); }),
      entries_.end());
}

void Kicker::add(const std::shared_ptr<Vcpu>& vcpu, bool watch) {
  std::lock_guard<std::mutex> guard(lock_);
  forgetDead();
  const auto known =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.vcpu.lock() == vcpu; });
  if (known == entries_.end())
    entries_.push_back({vcpu, watch, 0});
  else
    known->watch |= watch;
  if (watch) wakeUp();
}

void Kicker::stopping() {
  std::lock_guard<std::mutex> guard(lock_);
  stopping_ = true;
  wakeUp();
}

void Kicker::yield(int change) {
  std::lock_guard<std::mutex> guard(lock_);
  yielding_ += change;
  if (yielding_ > 0 && !entries_.empty()) wakeUp();
}

// Kicks those that need it; true if one that was stopped has not ended its run yet. `seen` keeps the VCPUs alive until
// the lock is released, since the last owner of one destroys it.
bool Kicker::round(bool waitedFor, std::vector<std::shared_ptr<Vcpu>>& seen) {
  bool unfinished = false;
  for (Entry& entry : entries_) {
    const auto vcpu = entry.vcpu.lock();
    if (!vcpu || !vcpu->running()) continue;
    const bool stopped = vcpu->stopRequested();
    const bool tooLong = entry.watch && vcpu->blocksCaller() && entry.lastRun == vcpu->runs();
    entry.lastRun = vcpu->runs();
    if (waitedFor || stopped || tooLong) vcpu->kick();
    unfinished |= stopped;
    seen.push_back(vcpu);
  }
  return unfinished;
}

void Kicker::loop() {
  std::unique_lock<std::mutex> guard(lock_);
  bool waitedFor = false;  // somebody has waited since before the last pause
  for (;;) {
    {
      std::vector<std::shared_ptr<Vcpu>> seen;
      stopping_ = false;
      const bool unfinished = round(waitedFor, seen);
      guard.unlock();
      seen.clear();
      guard.lock();
      stopping_ |= unfinished;
    }
    forgetDead();
    const bool watching = std::any_of(entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.watch; });
    waitedFor = yielding_ > 0;
    if (stopping_ || waitedFor) {
      wake_.wait_for(guard, kBetweenKicks);
    } else if (watching) {
      wake_.wait_for(guard, kBetweenLooks);
    } else {
      wake_.wait(guard);
    }
    waitedFor = waitedFor && yielding_ > 0;
  }
}

}  // namespace nvmm
