"""The reference nets here are built and named as torchvision does it, by other code than edge's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge.errors import ConfigError, DataError

torch = pytest.importorskip("torch")
nn = torch.nn
fcn = pytest.importorskip("edge.nets.fcn")
pretrained = pytest.importorskip("edge.nets.pretrained")
blocks = pytest.importorskip("edge.nets.blocks")
resnet = pytest.importorskip("edge.nets.resnet")
vgg = pytest.importorskip("edge.nets.vgg")
cost = pytest.importorskip("edge.nets.cost")

WIDTH = 4
MEAN, STD = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))  # RGB


class Vgg(nn.Module):
    def __init__(self, norm: bool) -> None:
        super().__init__()
        layers: list[Any] = []
        inputs = 3
        for width in (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0):
            if not width:
                layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))  # torchvision's own rounds down
                continue
            layers.append(nn.Conv2d(inputs, WIDTH * width, 3, padding=1))
            layers += [nn.BatchNorm2d(WIDTH * width)] if norm else []
            layers.append(nn.ReLU())
            inputs = WIDTH * width
        self.features = nn.Sequential(*layers)
        hidden = 64 * WIDTH
        self.classifier = nn.Sequential(
            *(nn.Linear(inputs * 49, hidden), nn.ReLU(), nn.Dropout()),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, 10)),
        )

    def forward(self, x: Any) -> Any:
        return self.features(x)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: Any = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Any) -> Any:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, counts: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        for index, count in enumerate(counts):
            inputs, outputs = WIDTH * 2 ** max(index - 1, 0), WIDTH * 2**index
            first = Block(inputs, outputs, 2 if index else 1)
            self.add_module(
                f"layer{index + 1}", nn.Sequential(first, *(Block(outputs, outputs, 1) for _ in range(count - 1)))
            )
        self.fc = nn.Linear(8 * WIDTH, 10)

    def forward(self, x: Any) -> Any:
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for index in range(1, 5):
            x = getattr(self, f"layer{index}")(x)
        return x


def trained(net: Any) -> Any:
    """With statistics as if it had been trained."""
    torch.manual_seed(6)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return net.eval()


def saved(net: Any, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(net.state_dict(), path)
    return path


def turned(state: Any) -> Any:
    """As many numbers as before in the first kernels, in another shape."""
    return {**state, "features.0.weight": state["features.0.weight"].transpose(0, 1).contiguous()}


PAIRS = {
    "vgg16_bn": (lambda: Vgg(True), lambda: vgg.Vgg16(WIDTH)),
    "vgg16": (lambda: Vgg(False), lambda: vgg.Vgg16(WIDTH, batch_norm=False)),
    "resnet18": (lambda: ResNet((2, 2, 2, 2)), lambda: resnet.ResNet(resnet.RESNET18, WIDTH)),
    "resnet34": (lambda: ResNet((3, 4, 6, 3)), lambda: resnet.ResNet(resnet.RESNET34, WIDTH)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_with_loaded_weights_an_encoder_sees_what_the_original_sees(name: str, tmp_path: Path) -> None:
    make_theirs, make_ours = PAIRS[name]
    theirs, ours = trained(make_theirs()), make_ours().eval()
    loaded = pretrained.load_pretrained(ours, saved(theirs, tmp_path))
    assert loaded.missing == ()
    assert {key.split(".")[0] for key in loaded.left_over} == {"classifier" if "vgg" in name else "fc"}
    rgb = torch.rand(2, 3, 75, 107)
    with torch.no_grad():
        wanted = theirs((rgb - MEAN) / STD)
        found = ours(blocks.ImageNetScale()(rgb.flip(1)))[-1]
    assert wanted.std() > 0
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.std()))


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: vgg.Vgg16(batch_norm=False), 14_714_688),
        (lambda: resnet.ResNet(resnet.RESNET18), 11_176_512),
        (lambda: resnet.ResNet(resnet.RESNET34), 21_284_672),
    ],
    ids=["vgg16", "resnet18", "resnet34"],
)
def test_encoders_have_the_parameters_of_the_originals_without_their_classifiers(make: Any, count: int) -> None:
    with torch.device("meta"):
        assert cost.parameter_count(make()) == count


def test_an_fcn_keeps_the_fully_connected_layers(tmp_path: Path) -> None:
    theirs, ours = trained(Vgg(False)), fcn.fcn_vgg16(3, WIDTH, stride=32).eval()
    loaded = pretrained.load_pretrained(ours, saved(theirs, tmp_path))
    assert loaded.missing == ()
    assert loaded.left_over == ("classifier.6.weight", "classifier.6.bias")
    cells = torch.rand(1, 8 * WIDTH, 7, 7)
    with torch.no_grad():
        wanted = theirs.classifier[:5](cells.flatten(1))[0]
        torch.testing.assert_close(ours.fc(cells)[0, :, 3, 3], wanted)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    state = ResNet((2, 2, 2, 2)).state_dict()
    del state["layer3.1.bn2.bias"]
    torch.save(state, tmp_path / "some.pth")
    loaded = pretrained.load_pretrained(resnet.ResNet(resnet.RESNET18, WIDTH), tmp_path / "some.pth")
    assert loaded.missing == ("stages.2.1.body.1.1.bias",)
    assert str(loaded) == "99 matched, 1 missing: stages.2.1.body.1.1.bias, 2 left over: fc.weight, fc.bias"


def test_files_older_than_the_counters_of_batch_norms_are_whole(tmp_path: Path) -> None:
    state = {k: v for k, v in ResNet((2, 2, 2, 2)).state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    assert pretrained.load_pretrained(resnet.ResNet(resnet.RESNET18, WIDTH), tmp_path / "old.pth").missing == ()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda: Vgg(False).state_dict(), r"holds the weights of another net; features\.\d+\.\w+: expected .*, got"),
        (
            lambda: ResNet((2, 2, 2, 2)).state_dict(),
            r"another net; expected features.*…, got conv1\.weight",
        ),
        (
            lambda: turned(Vgg(True).state_dict()),
            r"another net; features\.0\.weight: expected \(4, 3, 3, 3\), got \(3, 4, ",
        ),
        (lambda: {"epoch": 3}, "holds no weights by name"),
        (lambda: [1, 2], "holds no weights by name"),
        (lambda: Path("x"), "is not a file of weights alone: UnpicklingError"),
    ],
)
def test_other_files_are_refused_and_change_nothing(state: Any, message: str, tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "other.pth")
    encoder = vgg.Vgg16(WIDTH)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    with pytest.raises(DataError, match=message):
        pretrained.load_pretrained(encoder, tmp_path / "other.pth")
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.pth: weights not found"):
        pretrained.load_pretrained(vgg.Vgg16(WIDTH), tmp_path / "none.pth")
