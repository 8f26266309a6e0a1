#include "stream/property_log.h"

#include <tuple>

namespace segmentd {

void PropertyLog::drop(uint32_t begin, uint32_t end) {
  gathering_ |= begin != end;
  for (; begin != end; ++begin) {
    dropped_ += found_[begin].dropped ? 0 : 1;
    found_[begin].dropped = true;
  }
}

void PropertyLog::grow(uint32_t place) {
  places_.resize(place + 1);
}

void PropertyLog::sort() {
  std::erase_if(found_, [](const Found& f) { return f.dropped; });
  std::sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
    return std::tie(a.target, a.position) < std::tie(b.target, b.position);
  });
  items_.clear();
  items_.reserve(found_.size());
}

}  // namespace segmentd
