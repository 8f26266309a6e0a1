// A place among so many calls that may run at once.
#pragma once

#include <atomic>

namespace segmentd {

// Taken for as long as it lives, if there was one. Any thread may take one.
class Place {
 public:
  // `taken` counts the places and outlives this.
  Place(std::atomic<int>* taken, int places) : taken_(taken), got_(taken->fetch_add(1) < places) {}
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() { taken_->fetch_sub(1); }
  bool got() const { return got_; }

 private:
  std::atomic<int>* taken_;
  bool got_;
};

}  // namespace segmentd
