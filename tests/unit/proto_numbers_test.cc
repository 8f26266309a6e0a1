// Numbers on the wire and in what is stored are never used again. The golden list has every field
// and enum value there ever was: one that goes stays in the list and is `reserved` in its message.
// SEGMENTD_REWRITE=1 adds what is new.
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"

#include "proto/segments/v1/change.pb.h"
#include "proto/segments/v1/definition.pb.h"
#include "proto/segments/v1/event.pb.h"
#include "proto/segments/v1/membership_service.pb.h"
#include "proto/segments/v1/segment_service.pb.h"
#include "proto/segments/v1/state.pb.h"

namespace segmentd {
namespace {

namespace proto = google::protobuf;
namespace pb = segments::v1;

constexpr const char* kGolden = "tests/unit/golden/proto_numbers.txt";

struct Numbers {
  // "message number name type", one a line of the list.
  std::set<std::string> lines;
  // "message number" of what is reserved, or in use.
  std::set<std::string> reserved;
  std::set<std::string> used;
};

std::string Place(const std::string& of, int number) {
  return of + " " + std::to_string(number);
}

void Add(const proto::EnumDescriptor& of, Numbers& out) {
  for (int i = 0; i < of.value_count(); ++i) {
    const proto::EnumValueDescriptor& value = *of.value(i);
    const std::string place = Place(of.full_name(), value.number());
    out.used.insert(place);
    out.lines.insert(place + " " + value.name());
  }
  for (int i = 0; i < of.reserved_range_count(); ++i) {
    for (int n = of.reserved_range(i)->start; n <= of.reserved_range(i)->end; ++n) {
      out.reserved.insert(Place(of.full_name(), n));
    }
  }
}

void Add(const proto::Descriptor& of, Numbers& out) {
  for (int i = 0; i < of.field_count(); ++i) {
    const proto::FieldDescriptor& field = *of.field(i);
    std::string type = field.type_name();
    if (field.message_type() != nullptr) type = field.message_type()->full_name();
    if (field.enum_type() != nullptr) type = field.enum_type()->full_name();
    const std::string place = Place(of.full_name(), field.number());
    out.used.insert(place);
    std::string line = place + " " + field.name();
    line += field.is_repeated() ? " repeated " : " ";
    line += type;
    out.lines.insert(line);
  }
  for (int i = 0; i < of.reserved_range_count(); ++i) {
    for (int n = of.reserved_range(i)->start; n < of.reserved_range(i)->end; ++n) {
      out.reserved.insert(Place(of.full_name(), n));
    }
  }
  for (int i = 0; i < of.nested_type_count(); ++i) Add(*of.nested_type(i), out);
  for (int i = 0; i < of.enum_type_count(); ++i) Add(*of.enum_type(i), out);
}

Numbers All() {
  Numbers out;
  for (const proto::FileDescriptor* file :
       {pb::MembershipChange::descriptor()->file(), pb::Segment::descriptor()->file(),
        pb::Event::descriptor()->file(), pb::Finding::descriptor()->file(),
        pb::ListSegmentsRequest::descriptor()->file(), pb::TaskRecord::descriptor()->file()}) {
    for (int i = 0; i < file->message_type_count(); ++i) Add(*file->message_type(i), out);
    for (int i = 0; i < file->enum_type_count(); ++i) Add(*file->enum_type(i), out);
  }
  return out;
}

TEST(ProtoNumbers, AreNeverUsedAgain) {
  const Numbers now = All();
  std::ifstream file(kGolden);
  std::set<std::string> golden;
  for (std::string line; std::getline(file, line);) golden.insert(line);
  for (const std::string& line : golden) {
    if (now.lines.contains(line)) continue;
    std::istringstream words(line);
    std::string message;
    int number = 0;
    words >> message >> number;
    const std::string place = Place(message, number);
    EXPECT_TRUE(!now.used.contains(place) && now.reserved.contains(place))
        << "was once: " << line << "\nWrite `reserved " << number << ";` into " << message
        << ", and give what is new another number.";
  }
  bool added = false;
  for (const std::string& line : now.lines) added = golden.insert(line).second || added;
  if (getenv("SEGMENTD_REWRITE") != nullptr) {
    std::ofstream out(kGolden);
    for (const std::string& line : golden) out << line << "\n";
  } else {
    EXPECT_FALSE(added) << "There is something new: run this once with SEGMENTD_REWRITE=1.";
  }
}

}  // namespace
}  // namespace segmentd
