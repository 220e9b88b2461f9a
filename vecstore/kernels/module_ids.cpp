// Encoded ids to Python's ints and strings.
#include "module.h"

namespace vecstore {

namespace {

constexpr u64 INT = 1, STR = 2, NUMBER = 9;  // the first byte; bytes of an int

// The id of `size` bytes, or a null object where no id has these.
nb::object id_of(const u8* bytes, u64 size, u64 longest) {
    if (size == NUMBER && *bytes == INT) {
        u64 number = 0;
        for (u64 i = 1; i < size; i++) number = number << 8 | bytes[i];
        return nb::steal(PyLong_FromLongLong(i64(number - (u64(1) << 63))));
    }
    if (size < 2 || *bytes != STR || size - 1 > longest) return {};
    const char* text = reinterpret_cast<const char*>(bytes + 1);
    nb::object found = nb::steal(PyUnicode_DecodeUTF8(text, Py_ssize_t(size - 1), "strict"));
    if (!found.is_valid()) PyErr_Clear();
    return found;
}

nb::object decode_ids(In<u64, 1> offsets, In<u8, 1> data, In<i64, 1> rows, u64 longest) {
    const u64 count = offsets.shape(0);
    // Where the bytes lie is looked up first, so that they are all on their way at once.
    std::vector<std::pair<u64, u64>> bounds;
    for (size_t i = 0; i < rows.shape(0); i++) {
        const u64 row = u64(rows.data()[i]);
        if (row >= count || row + 1 >= count) return nb::none();
        const u64 start = offsets.data()[row], stop = offsets.data()[row + 1];
        if (start > stop || stop > data.shape(0)) return nb::none();
        __builtin_prefetch(data.data() + start);
        bounds.emplace_back(start, stop);
    }
    nb::list found;
    for (const auto& [start, stop] : bounds) {
        nb::object id = id_of(data.data() + start, stop - start, longest);
        if (!id.is_valid()) return nb::none();
        found.append(id);
    }
    return found;
}

}  // namespace

void add_ids(nb::module_& m) {
    const auto in = [](const char* name) { return nb::arg(name).noconvert(); };
    m.def("decode_ids", &decode_ids, in("offsets"), in("data"), in("rows"), nb::arg("longest"));
}

}  // namespace vecstore
