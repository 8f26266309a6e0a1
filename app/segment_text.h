// A stored segment as people read it, and as they write it.
#pragma once

#include <string>
#include <string_view>

#include "app/console.h"
#include "proto/segments/v1/definition.pb.h"

namespace segmentd {

// "active"
std::string StatusWord(const segments::v1::Segment& segment);
// "building 25 %"
std::string StatusText(const segments::v1::Segment& segment);
Color StatusColor(const segments::v1::Segment& segment);

// What people write of it: the same for a stored segment and for the file it came from.
std::string Written(segments::v1::Segment segment);

// Each line after a "# ".
std::string AsComment(std::string_view text);

}  // namespace segmentd
