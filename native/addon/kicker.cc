#include "kicker.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>

#include "objects.h"
#include "thread.h"

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
    const BlockedSignals blocked;
    try {
      std::thread([this] { loop(); }).detach();
      started_ = true;
    } catch (const std::system_error&) {
      // No thread is to be had: the next one who wants to wake it tries again.
    }
  }
  wake_.notify_one();
}

void Kicker::add(Vcpu& vcpu, bool watch) {
  std::lock_guard<std::mutex> guard(lock_);
  vcpus_[&vcpu].watch |= watch;
  if (watch || yielding_ > 0) wakeUp();
}

void Kicker::remove(Vcpu& vcpu) {
  std::lock_guard<std::mutex> guard(lock_);
  vcpus_.erase(&vcpu);
}

void Kicker::stopping() {
  std::lock_guard<std::mutex> guard(lock_);
  stopping_ = true;
  wakeUp();
}

void Kicker::yield(int change) {
  std::lock_guard<std::mutex> guard(lock_);
  yielding_ += change;
  if (yielding_ > 0 && !vcpus_.empty()) wakeUp();
}

// Kicks those that need it; true if one that was stopped has not ended its run yet.
bool Kicker::round(bool waitedFor) {
  bool unfinished = false;
  for (auto& [vcpu, look] : vcpus_) {
    if (!vcpu->running()) continue;
    const bool stopped = vcpu->stopRequested();
    const bool tooLong = look.watch && vcpu->blocksCaller() && look.lastRun == vcpu->runs();
    look.lastRun = vcpu->runs();
    if (waitedFor || stopped || tooLong) vcpu->kick();
    unfinished |= stopped;
  }
  return unfinished;
}

void Kicker::loop() {
  std::unique_lock<std::mutex> guard(lock_);
  bool waitedFor = false;  // somebody has waited since before the last pause
  for (;;) {
    stopping_ = round(waitedFor);
    const bool watching = std::any_of(vcpus_.begin(), vcpus_.end(), [](const auto& each) { return each.second.watch; });
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
