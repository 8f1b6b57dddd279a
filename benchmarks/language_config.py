"""The configuration of a run on text: what the next word of a text is learnt from, by which network.

The parts of the recipe are those of AWD-LSTM (Merity et al. 2018), which the EGRU paper (section 5.3) takes over.
"""

from typing import Annotated

from pydantic import Field, model_validator

from benchmarks.config import Count, Positive, Rate, RecurrentConfig, Sizes

Words = Annotated[int, Field(ge=2)]  # one to begin with and one to predict


class LanguageModelConfig(RecurrentConfig):
    """The next word of a text: an embedding, recurrent layers one upon the other, a read-out over the vocabulary."""

    of_any_model = ("dropconnect",)

    train_size: Words | None = Field(None, description="the first N training words; null for all")
    validation_size: Words | None = Field(None, description="the first N validation words; null for all")
    test_size: Words | None = Field(None, description="the first N test words; null for all")
    sparsity_sample: Count = Field(5_000, description="validation words on which sparsity is measured each epoch")
    steps: Count = Field(35, description="words through which a gradient goes back; the state is carried further")
    variable_steps: bool = Field(False, description="chunks of random lengths around `steps`, their rates scaled alike")

    units: Sizes = Field((256, 256, 256), description="of the recurrent layers, as 256,256,256")
    embedding_size: Count | None = Field(None, description="null for the units of the last layer")
    embedding_scale: Positive = Field(1.0, description="factor of the embedded words, as layers read them")
    unigram_bias: bool = Field(False, description="whether the read-out's bias begins at the words' log frequencies")
    word_dropout: Rate = Field(0.0, description="of words of the vocabulary, wherever they stand in a chunk")
    input_dropout: Rate = Field(0.0, description="of the embedded words; one mask a chunk, as all of these")
    hidden_dropout: Rate = Field(0.0, description="between recurrent layers")
    dropout: Rate = Field(0.0, description="before the read-out")

    last_target_rate: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        None, description="target_rate of the last layer, all that the read-out sees of a text; null for the others'"
    )

    @model_validator(mode="after")
    def _has_a_regularizer_for_the_last_rate(self):
        if self.last_target_rate is not None and self.state_regularizer in (None, "internal_state"):
            raise ValueError("last_target_rate needs a state_regularizer of event rates, or null")
        return self

    @property
    def embedding_units(self) -> int:
        return self.embedding_size or self.units[-1]

    @property
    def tied(self) -> bool:
        """Whether embedding and read-out share their weights: wherever their sizes allow it."""
        return self.embedding_units == self.units[-1]

    def of_last_layer(self) -> "LanguageModelConfig":
        """The same with the last layer's rate of events as that of all layers."""
        rate = self.target_rate if self.last_target_rate is None else self.last_target_rate
        return self.model_copy(update={"target_rate": rate})

    def without_regularization(self) -> "LanguageModelConfig":
        """The same network, as it is evaluated and saved."""
        return self.model_copy(update={"state_regularizer": None, "word_dropout": 0.0, "dropconnect": 0.0})
